"""Chain runs that are plumbing: prompts, parsers, sequences, pass-throughs, and doubles of the run above.

A folded run makes no row: the runs below it stand under the run above. The start decides, by what LangChain passes;
a run below that shows more makes a row of it after all.
"""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot

from . import private
from .states import ChainState

NOT_PASSED: Any = object()
"""In place of an argument that LangChain did not pass."""

PLUMBING = frozenset(
    {
        "ChannelRead",
        "ChannelWrite",
        "DynamicRunnable",
        "RouterRunnable",
        "RunnableAssign",
        "RunnableBinding",
        "RunnableBranch",
        "RunnableCallable",
        "RunnableConfigurableAlternatives",
        "RunnableConfigurableFields",
        "RunnableEach",
        "RunnableGenerator",
        "RunnableLambda",
        "RunnableMap",
        "RunnableParallel",
        "RunnablePassthrough",
        "RunnablePick",
        "RunnableRetry",
        "RunnableSequence",
        "RunnableWithFallbacks",
        "RunnableWithMessageHistory",
    }
)
"""Names that LangChain and LangGraph give to runnables without a name of their own."""
PLUMBING_KINDS = frozenset({"prompt", "parser"})
PREBUILT_PROMPT = "Prompt"
"""The step of LangGraph's prebuilt agent that puts its prompt before the messages."""


def folds(state: ChainState, kind: Any, parent: Run) -> bool:
    """Return whether a chain run below *parent* is plumbing; marks *state* if the run is a double of *parent*.

    Args:
        kind: LangChain's `run_type`: "prompt" and "parser" for these, None for other runnables of LangChain itself, and
            `NOT_PASSED` for sequences and for everything of LangGraph.
    """
    name = state.name
    if kind in PLUMBING_KINDS or name in PLUMBING or name.partition("<")[0] in PLUMBING:
        return True
    above = parent.state
    if type(above) is not ChainState:
        return False
    if state.node:
        return above.thinks_in is not None and name in private.AGENT_NODES
    if state.inputs is above.inputs:
        state.double = name == above.name or (
            above.node and kind is NOT_PASSED and private.FIRST_STEP_TAG in (state.tags or ())
        )
        if state.double:
            return True
    if kind is not NOT_PASSED or not private.is_step(state.tags):
        return False
    # LangGraph's own steps after a node: the functions that choose where to go next.
    return name == PREBUILT_PROMPT or (above.node and private.FIRST_STEP_TAG not in (state.tags or ()))


def fold_wrapper(parent: Run, name: str) -> None:
    """Fold a chain run that only calls a model of its own name: a model with retries, for example."""
    state = parent.state
    if type(state) is not ChainState or state.used or parent.folded or parent.parent is None:
        return
    if name == state.name:
        parent.folded = True
        parent.anchor = parent.parent.anchor


def use(run: Run | None) -> None:
    """Mark that a row stands below *run*, and below the runs above as far as *run* is folded."""
    while run is not None and run.state.__class__ is ChainState:
        run.state.used = True
        if not run.folded:
            return
        run = run.parent


def unfold(run: Run) -> None:
    """Make a row of a folded run after all."""
    run.folded = False
    run.anchor = run.observation
    if run.observation.input is None:
        run.observation.input = snapshot(run.state.inputs)

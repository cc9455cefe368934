"""Which chain runs are plumbing: prompts, parsers, sequences, pass-throughs, and doubles of the run above.

A folded run makes no row: what is below it stands under the run above. Decided when it starts, by what LangChain tells
of it; put right when something below it shows that it was more than that.
"""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot

from . import private
from .states import ChainState

NOT_TOLD: Any = object()
"""Stands for an argument that LangChain did not pass."""

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
"""Names that LangChain and LangGraph give to what has no name of its own."""
PLUMBING_KINDS = frozenset({"prompt", "parser"})
PREBUILT_PROMPT = "Prompt"
"""How LangGraph's prebuilt agent calls the step that puts its prompt before the messages."""


def folds(name: str, kind: Any, state: ChainState, parent: Run) -> bool:
    """Return whether a chain run below *parent* is plumbing; notes in *state* when it is a double of *parent*.

    Args:
        kind: LangChain's `run_type`: "prompt" and "parser" for these, None for other runnables of LangChain itself, and
            not told for sequences and for everything of LangGraph.
    """
    if kind in PLUMBING_KINDS or name in PLUMBING or name.partition("<")[0] in PLUMBING:
        return True
    above = parent.state
    if type(above) is not ChainState:
        return False
    if state.node:
        return above.thinks_in is not None and name in private.AGENT_NODES
    if state.inputs is above.inputs:
        state.double = name == above.name or (
            above.node and kind is NOT_TOLD and private.FIRST_STEP_TAG in (state.tags or ())
        )
        if state.double:
            return True
    if kind is not NOT_TOLD or not private.is_step(state.tags):
        return False
    # What LangGraph itself runs after a node: the functions that choose where to go next.
    return name == PREBUILT_PROMPT or (above.node and private.FIRST_STEP_TAG not in (state.tags or ()))


def fold_wrapper(parent: Run, name: str) -> None:
    """Fold a chain run that does nothing but call what has its name: a model with retries, for example."""
    state = parent.state
    if type(state) is not ChainState or state.used or parent.folded or parent.parent is None:
        return
    if name == state.name:
        parent.folded = True
        parent.anchor = parent.parent.anchor


def use(run: Run | None) -> None:
    """Note that something stands below the row of *run*, or below that of the run above for which it is folded."""
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

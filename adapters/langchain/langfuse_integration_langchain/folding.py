"""Chain runs that are plumbing: prompts, parsers, sequences, pass-throughs, and doubles of the run above.

A folded run makes no row: the runs below it stand under the run above. The start decides, by what LangChain passes;
a run below that shows more makes a row of it after all.

A graph that a node calls with its state may be all that the node does, or a part of it: only the node's end tells. The
graph's row is held back until then: it stands below the node, or in the place of the node.
"""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording import tracing
from langfuse_integration.recording.held import HeldRow
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot

from . import private
from .decisions import MODEL_KIND
from .notes import notes_of
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


def folds(state: ChainState, kind: Any, parent: Run) -> bool:
    """Return whether a chain run below *parent* is plumbing; marks *state* if the run is a double of *parent*.

    Args:
        kind: LangChain's `run_type`: "llm" for a call of a model, "prompt" and "parser" for these, None for other
            runnables of LangChain itself, and `NOT_PASSED` for sequences and for everything of LangGraph.
    """
    name = state.name
    if kind == MODEL_KIND:
        return False
    if kind in PLUMBING_KINDS or name in PLUMBING or name.partition("<")[0] in PLUMBING:
        return True
    above = parent.state
    if type(above) is not ChainState:
        return False
    if state.tags and private.HIDDEN_TAG in state.tags and private.HIDDEN_TAG not in (above.tags or ()):
        return True
    if state.node:
        return (above.thinks_in is not None and name in (above.thinks_in, private.TOOLS_NODE)) or (
            above.unnamed and _is_entry(state, parent)
        )
    if name == above.name and _doubles(state, kind, above):
        state.double = True
        return True
    if kind is not NOT_PASSED or state.position != "step":
        return False
    if above.node and name == private.UNNAMED_GRAPH:
        state.unnamed = True
        state.name = above.name
    state.step = above.node
    if above.node and name == private.AGENT_CALLER:
        above.hands_back = True
        _name_by_supervisor(parent.parent)
    return state.step or name == private.PREBUILT_PROMPT


def _doubles(state: ChainState, kind: Any, above: ChainState) -> bool:
    """Return whether a run is the same thing as the run above that has its name, such as an attempt of a retry."""
    return not (above.doubled or (above.node and kind is NOT_PASSED)) and equal(state.inputs, above.inputs)


def _is_entry(state: ChainState, graph: Run) -> bool:
    """Return whether a node is the function of an `@entrypoint`, and name the graph around it after the function."""
    if not private.is_entry(state.name, state.metadata):
        return False
    graph.state.name = graph.observation.name = state.name
    graph.state.unnamed = False
    state.double = True
    return True


def _name_by_supervisor(graph: Run | None) -> None:
    """Name a supervisor's graph without a name after the supervisor: its first node, which handed over."""
    if graph is not None and graph.state.unnamed and graph.state.first_node:
        graph.observation.name = graph.state.first_node  # the state keeps the name by which a later run finds this one
        graph.state.unnamed = False


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal; False where a class cannot compare."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  values of foreign classes, such as arrays
        return False


def show_step(run: Run) -> None:
    """Make a row of a folded step that turns out to be a graph or a named sequence: below its node, or in its place."""
    state: ChainState = run.state
    node = run.parent
    state.step = False
    if node is None or not _claim(node, run):
        unfold(run)
        use(node)
        return
    assert node.parent is not None
    run.anchor = node.parent.anchor
    run.observation.late = notes_of(state.metadata, state.tags, node.parent.state)
    unfold(run)
    state.row = run.observation
    if node.state.used:
        keep(node)
    if node.state.stand_in is not state:
        state.row.parent = node.observation.span


def _claim(node: Run, run: Run) -> bool:
    """Let *run* stand in for a node if nothing else does and no row stands below the node; safe in several threads."""
    state, node_state = run.state, node.state
    if not node_state.node or node_state.used or node.folded or run.anchor is not node.anchor:
        return False
    if not equal(state.inputs, node_state.inputs):
        return False
    node_state.held = node_state.held or []
    state.stands_in = node_state.__dict__.setdefault("stand_in", state) is state
    return bool(state.stands_in)


def hold(node: Run, graph: Run, outputs: Any) -> None:
    """End *graph* with its output, but keep its row until the end of *node*."""
    row = graph.observation
    if outputs is not None:
        row.output = snapshot(outputs)
    ended_ns = row.elapsed_to_wall()
    node.state.held.append((row, ended_ns))
    tracing.recorder.opened(HeldRow.of(row, ended_ns))
    if node.state.stand_in is not graph.state:
        release(node)


def gives_way(node: Run, outputs: Any) -> bool:
    """Let a node that ends with *outputs* stand where the run above does if its row is not needed; return whether."""
    passes_on = _passes_on(node, outputs)
    if passes_on and node.parent is not None:
        node.anchor = node.parent.anchor
    return passes_on


def _passes_on(node: Run, outputs: Any) -> bool:
    """Return whether a node that ends with *outputs* did no more than the graph that stands in for it."""
    graph, row = node.state.stand_in, node.observation
    inner = None if graph is None else graph.row
    if inner is None or not node.state.held:
        return False
    if (inner.level, inner.status_message) != (row.level, row.status_message):
        return False
    if node.state.hands_back and inner.name == row.name:
        return True
    return equal(inner.output, row.output if outputs is None else outputs)


def fold_into(run: Run, graph: Run) -> None:
    """Fold the open runs from *run* up to *graph*, if no row stands below them: what follows stands below the graph."""
    runs = []
    for above in run.lineage():
        if above is graph:
            break
        runs.append(above)
    if any(each.state.used for each in runs):
        return
    for each in runs:
        each.folded = True
        each.anchor = graph.anchor


def keep(node: Run) -> None:
    """Make a row of a node after all, with the graph in it below."""
    state: ChainState = node.state
    graph, state.stand_in = state.stand_in, None
    if graph is not None and graph.row is not None:
        graph.row.parent = node.observation.span
        release(node)


def release(node: Run) -> None:
    """Record the row that was held back; each once, whichever threads come here."""
    while node.state.held:
        try:
            row, ended_ns = node.state.held.pop()
        except IndexError:
            return
        row.end(ended_ns)


def fold_wrapper(run: Run) -> None:
    """Fold a chain run that only calls a model of its own name: a model with retries, for example."""
    state = run.state
    if type(state) is ChainState and not state.used and not run.folded and run.parent is not None:
        run.folded = True
        run.anchor = run.parent.anchor


def use(run: Run | None) -> None:
    """Mark that a row stands below *run*, and below the runs above as far as *run* is folded."""
    while run is not None and run.state.__class__ is ChainState:
        run.state.used = True
        if run.state.stand_in is not None:
            keep(run)
        if not run.folded:
            return
        run = run.parent


def unfold(run: Run) -> None:
    """Make a row of a folded run after all."""
    run.folded = False
    run.anchor = run.observation
    if run.observation.input is None:
        run.observation.input = snapshot(run.state.inputs)

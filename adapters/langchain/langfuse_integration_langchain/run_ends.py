"""Ends of runs: with an answer, an error, in control flow, or given up half-way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langfuse_integration.encoding.error_form import error_form
from langfuse_integration.recording import tracing
from langfuse_integration.recording.noted import Noted, note_of
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot

from . import agents, decisions, folding, interrupts, messages, orphans, results
from .folding import NOT_PASSED
from .messages import PartialAnswer
from .models import ModelAnswer
from .states import ChainState, Failure, LeafState, ModelState

SHOWN_LIMIT = 8
registry = tracing.registry


def chain(run: Run, outputs: Any, inputs: Any = NOT_PASSED, error: BaseException | None = None) -> None:
    """End a chain with its output, or with the *error* that its row has already.

    Args:
        inputs: of a stream, which does not know them at its start.
    """
    if inputs is not NOT_PASSED and not run.folded and _is_left(run, outputs, inputs):
        return
    state: ChainState = run.state
    parent = run.parent
    above: Any = parent.state if parent is not None and parent.state.__class__ is ChainState else None
    if state.given is not None or state.task is not None:
        _tell(state, parent, outputs, error)
    gives_way = state.stand_in is not None and folding.gives_way(run, outputs)
    if registry.close(run.key) is None:
        return
    if state.failures is not None:
        _show_failures(state.failures, error)
    steps = above.steps if above is not None and state.node and not state.vanishes and outputs is not None else None
    if steps is not None and len(steps.decided) > len(steps.answered):
        agents.node_ended(run, steps, outputs)
    if state.steps is not None or parent is None:
        agents.closed(run, outputs)
    if not run.folded:
        _record(run, outputs, gives_way)
    if above is not None and parent is not None:  # as `_settle`, without the call
        output = None if run.folded else run.observation.output
        output = state.latest if output is None else output
        above.latest = above.latest if output is None else output
        above.doubled = above.doubled or (state.double and error is None)
        if above.leaving and not parent.children:
            chain(parent, above.latest)


def failed_chain(run_id: UUID, error: BaseException, inputs: Any) -> None:
    """End a chain that raised."""
    run = registry.get(run_id.int)
    if run is None:
        return
    if inputs is not NOT_PASSED and not run.folded:
        run.observation.input = snapshot(inputs)
    if isinstance(error, GeneratorExit) and run.children:
        _leave(run)
        return
    if type(error).__name__ == "CancelledError":
        _cancel_below(run)
    state: ChainState = run.state
    state.vanishes = False
    if state.task is not None and run.parent is not None:
        interrupts.task_ended(run.parent, state.task, finished=False)
    if not interrupts.flowed(run, error):
        run.observation.fail(error)
        if state.type == "generation":
            decisions.failed(run, error)
        _fold_or_show(run, error)
    # An error has no output. A run that was given up half-way has what had come until then.
    given_up = run.observation.level != "ERROR" and run.observation.output is None
    chain(run, state.latest if given_up else None, error=error)


def model(run_id: UUID, response: Any) -> None:
    """End a model call with its answer."""
    run = registry.close(run_id.int)
    if run is None:
        return
    state: ModelState = run.state
    state.watch = None
    if state.task is not None:
        orphans.release(state)
    state.call.answer = answer = ModelAnswer(response)
    state.call.parts = state.parts
    if state.thinker is not None:
        calls = answer.tool_calls
        if calls:
            agents.decided(run, calls)
    run.observation.output = answer.output  # by reference: the answer has noted what its message was like
    run.observation.finish()
    _settle(run)


def failed_model(run_id: UUID, error: BaseException, response: Any) -> None:
    """End a model call that raised or was given up; *response* is the part of the answer that had come."""
    run = registry.close(run_id.int)
    if run is None:
        return
    state: ModelState = run.state
    orphans.release(state)
    output = None
    if response is not None:
        state.call.answer = answer = ModelAnswer(response)
        output = answer.partial
    if output is None and state.parts:
        output = PartialAnswer(state.parts)
    if isinstance(error, Exception):
        state.call.failure, state.call.parts = error_form(error), state.parts
    if not interrupts.flowed(run, error):
        run.observation.fail(error)
        _show(run, error)
    if output is not None:
        run.observation.output = output
    run.observation.finish()
    _settle(run)


def tool(run_id: UUID, output: Any) -> None:
    """End a tool call with its output."""
    run = registry.close(run_id.int)
    if run is None:
        return
    run.state.watch = None
    if run.state.task is not None:
        orphans.release(run.state)
    problem, kept = messages.tool_outcome(output, run.state.call_id)
    if problem is not None:
        run.observation.level, run.observation.status_message = "ERROR", problem
    if tracing.recorder.replayable:
        results.returned(run, output)
    run.observation.output = kept if type(kept) is str else note_of(kept)
    run.observation.finish()
    _settle(run)


def retriever(run_id: UUID, documents: Any) -> None:
    """End a retrieval with its documents."""
    run = registry.close(run_id.int)
    if run is None:
        return
    orphans.release(run.state)
    noted = [Noted(document) if hasattr(document, "__dict__") else note_of(document) for document in documents]
    if tracing.recorder.replayable:
        results.returned(run, noted)
    run.observation.output = noted
    run.observation.finish()
    _settle(run)


def failed_leaf(run_id: UUID, error: BaseException) -> None:
    """End a tool call or retrieval that raised."""
    run = registry.close(run_id.int)
    if run is None:
        return
    orphans.release(run.state)
    if tracing.recorder.replayable:
        results.raised(run, error)
    if not interrupts.flowed(run, error):
        run.observation.fail(error)
        _show(run, error)
    run.observation.finish()
    _settle(run)


def _is_left(run: Run, outputs: Any, inputs: Any) -> bool:
    """Take the *inputs* of a stream; return whether it was abandoned, so that the runs below it end after it."""
    run.observation.input = snapshot(inputs)
    is_left = outputs is None and bool(run.children)
    if is_left:
        _leave(run)
    return is_left


def _tell(state: ChainState, graph: Run | None, outputs: Any, error: BaseException | None) -> None:
    """Tell the prompt of a template what it made, and the graph around a node that the node's task is finished.

    The task of a node whose stream was abandoned is not finished.
    """
    if state.given is not None:
        state.given.made(outputs)
    if state.task is not None and graph is not None and error is None and not state.leaving:
        interrupts.task_ended(graph, state.task, finished=True)


def _show_failures(failures: list[Failure], error: BaseException | None) -> None:
    """Record the doubles that failed, but for the one with the run's own *error*."""
    for failure in failures:
        if failure.error is not error:
            folding.unfold(failure.run)
            failure.run.observation.end(failure.ended_ns)


def _record(run: Run, outputs: Any, gives_way: bool) -> None:
    """Record the row of a chain that ends, unless the row of a graph in it or nothing at all takes its place."""
    state: ChainState = run.state
    if gives_way:
        folding.release(run)
        return
    if state.stand_in is not None:
        folding.use(run)
    if state.stands_in and run.parent is not None and run.parent.state.stand_in is state:
        folding.hold(run.parent, run, outputs)
    elif not (state.vanishes and outputs is None and not state.used):
        run.observation.finish(note_of(outputs) if state.type == "generation" else outputs)


def _leave(run: Run) -> None:
    """Mark an abandoned stream: LangChain ends the chain first, and the runs below after it."""
    run.state.leaving = True
    run.observation.cancel()


def _settle(run: Run) -> None:
    """Pass the output of a leaf to the chain above; finish that chain if it was abandoned and has no open run left."""
    parent = run.parent
    if parent is None or type(parent.state) is not ChainState:
        return
    above = parent.state
    output = run.observation.output
    if output is not None:
        above.latest = output
    if above.leaving and not parent.children:
        chain(parent, above.latest)


def _cancel_below(run: Run) -> None:
    """Cancel the model, tool and retriever runs of a cancelled chain: LangChain does not end them."""
    for below in list(run.open_below()):
        if isinstance(below.state, LeafState) and registry.close(below.key) is not None:
            orphans.cancel(below)
            _settle(below)


def _show(run: Run, error: BaseException) -> None:
    """Note in the run above that *error* has a row."""
    parent = run.parent
    if parent is not None and type(parent.state) is ChainState and isinstance(error, Exception):
        parent.state.shown = (*parent.state.shown[-SHOWN_LIMIT:], error)


def _fold_or_show(run: Run, error: BaseException) -> None:
    """Make a row of folded plumbing that failed by itself; a double waits for the end of the run above."""
    state: ChainState = run.state
    parent = run.parent
    above: Any = parent.state if parent is not None else None
    if run.folded and isinstance(error, Exception) and not _is_shown(error, state) and not _is_shown(error, above):
        if state.double:
            above.failures = above.failures or []
            above.failures.append(Failure(run, error, run.observation.elapsed_to_wall()))
            return
        folding.unfold(run)
    _show(run, error)


def _is_shown(error: BaseException, state: Any) -> bool:
    return type(state) is ChainState and any(shown is error for shown in state.shown)

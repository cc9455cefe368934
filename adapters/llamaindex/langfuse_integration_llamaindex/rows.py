"""Rows: the state of an open one, and how it opens and ends."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from typing_extensions import override

from langfuse_integration.recording import ambient, resumption
from langfuse_integration.recording.anchor import Anchor
from langfuse_integration.recording.otel_api import SPAN_KEY, get_context
from langfuse_integration.recording.registry import Run, RunStart
from langfuse_integration.recording.tracing import open_run, recorder, registry, store

from . import bindings, foreign, results
from .continuations import Continuation
from .folding import Role
from .places import SpanPlace, span_inside

EXACT = frozenset({"retriever", "embedding"})
"""Types of rows that hold the exact form of their result; those of models and tools are kept elsewhere."""


class RowState(RunStart):
    """The state of an open row; each kind of row that differs has a subclass.

    Attributes:
        role: how the row is recorded.
        instance: the object whose method the span is, or None for a function.
        resumes: the row of another session's trace that the run continues, or None.
    """

    resumes: Anchor | None = None

    def __init__(self, role: Role, instance: Any) -> None:
        self.role = role
        self.instance = instance

    @override
    def called_by(self, parent_key: Hashable) -> bool:
        """Return True: LlamaIndex's own context says which span a span starts in."""
        return True

    def exit(self, run: Run, result: Any) -> None:
        """End the row with the result of the call."""
        if recorder.replayable and self.role.type in EXACT:
            results.returned(self.role.type, run.observation, result, run.state.name)
        write = self.role.write
        finish(run.key, write(result) if write is not None and result is not None else result)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the row with the error of the call."""
        if recorder.replayable and self.role.type in EXACT:
            results.raised(self.role.type, run.observation, error, run.state.name)
        fail(run.key, error)

    def cancel(self, run: Run) -> None:
        """Note that the runtime cancelled the call, whose span then exits without an error."""
        run.observation.cancel()

    def abandon(self, run: Run) -> None:
        """End the row because the row above was cut short."""
        cancel(run.key)


def open_row(
    id_: Hashable,
    place: SpanPlace,
    name: str,
    state: RowState,
    given: Any,
    *,
    earlier: Continuation | None = None,
) -> Run | None:
    """Open the row of a span; None when it is open already.

    Args:
        given: the input.
        earlier: of the run that a root continues, or None.
    """
    state.key, state.parent_key = id_, place.key
    state.name, state.type = name, state.role.type
    parent = registry.get(place.key) if place.key is not None else None
    if parent is not None:
        if SPAN_KEY in get_context():
            state.above = span_inside(parent)
    elif place.run is None:
        _find_origin(state, earlier)
    return open_run(state, given, parent)


def _find_origin(state: RowState, earlier: Continuation | None) -> None:
    """Note the parent and the sessions that a root may have by its handler, its workflow or an earlier run."""
    foreign.look()
    carried = bindings.carried()
    state.session = bindings.bound(state.instance)
    if carried is not None:
        state.suggested = carried.anchor.session
        state.above = carried.above()
    if earlier is not None:
        _continue(state, earlier)


def _continue(state: RowState, earlier: Continuation) -> None:
    """Place a root in the trace of the run that it continues, if the session is the same and no span is around it."""
    around = state.above or ambient.current()
    if around is not None and around.exported:
        return
    active = state.suggested if state.suggested is not None else store.resolve(None)[0]
    if resumption.continues(state, earlier.anchor.session, active):
        state.above = earlier.anchor
    else:
        state.resumes = earlier.root


def finish(key: Hashable, output: Any = None) -> Run | None:
    """End a row with its output, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.finish(output)
    return run


def fail(key: Hashable, error: BaseException, output: Any = None) -> Run | None:
    """End a row with its error, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.fail(error)
        run.observation.finish(output)
    return run


def cancel(key: Hashable, output: Any = None) -> Run | None:
    """End a row as cancelled, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.cancel()
        run.observation.finish(output)
    return run


def cancel_below(run: Run) -> None:
    """End the rows below *run*, which was cut short: their own ends may never be announced."""
    for below in list(run.open_below()):
        if isinstance(below.state, RowState):
            below.state.abandon(below)

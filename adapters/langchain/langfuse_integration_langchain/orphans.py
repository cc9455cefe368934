"""Runs that nobody will end: LangChain forgets model, tool and retriever runs when their task is cancelled.

Two things tell. The task that was current when the run started has ended: then the run has, too. Or the run's id is no
longer referenced by anybody: then nobody can end it any more, whatever became of it (a time-out inside of a task, a
prompt whose neighbour in the same call failed). The first tells at once, the second when the garbage is collected, in
whatever thread and line that happens: so it only notes the id, and the next run or the worker's next round acts on it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from uuid import UUID

from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run

from . import private
from .messages import Streamed
from .states import LeafState

_ENDING = shielded("ending a run that was cancelled")

lost: deque[int] = deque()
"""Ids of runs that nobody references any more; bounded by the registry, which gives up the oldest open runs."""


class Watch(weakref.ref[UUID]):
    """A reference to a run's id that knows which one it was."""

    __slots__ = ("key",)

    key: int


def _note(watch: weakref.ref[UUID]) -> None:
    lost.append(watch.key)  # type: ignore[attr-defined]  # nothing more: garbage is collected at any line


def watch(run: Run, run_id: UUID) -> None:
    """Have *run* ended when nobody else will."""
    state: LeafState = run.state
    noted = Watch(run_id, _note)
    noted.key = run_id.int
    state.watch = noted
    if run.parent is not None:
        return  # its end, or the error of a run above, reaches it
    task = private.current_task()
    if task is not None:
        key = run_id.int

        def done(_: asyncio.Task[object]) -> None:
            end(key)

        state.task, state.done = task, done
        task.add_done_callback(done)


def release(state: LeafState) -> None:
    """Stop watching a run that has ended."""
    state.watch = None
    if state.task is not None and state.done is not None:
        state.task.remove_done_callback(state.done)
        state.task = state.done = None


def end(key: int) -> None:
    """End the run of *key* as cancelled, if it is still open."""
    with _ENDING:
        run = tracing.registry.close(key)
        if run is not None:
            cancel(run)


def cancel(run: Run) -> None:
    """Record a closed run as cancelled, with what was streamed so far."""
    state = run.state
    output = None
    if isinstance(state, LeafState):
        release(state)
        if state.parts:
            output = Streamed(state.parts)
    if not run.folded:
        run.observation.cancel()
        run.observation.finish(output)


def sweep() -> None:
    """End what nobody references any more."""
    while lost:
        try:
            key = lost.popleft()
        except IndexError:
            return
        end(key)

"""Orphaned runs: LangChain does not end model, tool and retriever runs when their task is cancelled.

Two signals end such a run. The task that was current when the run started has ended: the run ends at once. Or the
run's id is no longer referenced, so that nobody can end the run any more (a time-out inside of a task, a prompt whose
neighbour in the same call failed): the garbage collector tells that in any thread and at any line, so the run ends
when the next one starts, or in the worker's next round.
"""

from __future__ import annotations

import asyncio

from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run

from . import private
from .lost_runs import lost
from .messages import PartialAnswer
from .states import LeafState

_ENDING = shielded("ending a run that was cancelled")


def watch_task(run: Run) -> None:
    """End *run* with the task that is current here. For a root run: a run below another ends with that one."""
    task = private.current_task()
    if task is None:
        return
    state: LeafState = run.state
    key = run.key

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


def end(key: object) -> None:
    """End the run of *key* as cancelled, if it is still open."""
    with _ENDING:
        run = tracing.registry.close(key)
        if run is not None:
            cancel(run)


def cancel(run: Run) -> None:
    """Record a closed run as cancelled, with the parts of its answer that were streamed."""
    state = run.state
    output = None
    if isinstance(state, LeafState):
        release(state)
        if state.parts:
            output = PartialAnswer(state.parts)
    if not run.folded:
        run.observation.cancel()
        run.observation.finish(output)


def sweep() -> None:
    """End the runs whose ids are no longer referenced."""
    while lost:
        try:
            key = lost.popleft()
        except IndexError:
            return
        end(key)

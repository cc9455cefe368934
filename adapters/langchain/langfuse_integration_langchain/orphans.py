"""Orphaned runs: LangChain does not end model, tool and retriever runs when their task is cancelled.

Two signals end such a run. The task that was current when the run started has ended: the run ends at once. Or the
run's id is no longer referenced, so that nobody can end the run any more (a time-out inside of a task, a prompt whose
neighbour in the same call failed): the garbage collector tells that in any thread and at any line, so the run ends
when the next one starts, or in the worker's next round.

Nor does LangChain end the root run of a stream that was given up just before its event loop ended: the task that would
do it is cancelled before its first step. Such a run ends once the loop and its id are freed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from langfuse_integration.internals.event_loops import running_loop
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run

from . import private
from .lost_runs import lost, watched, watched_loop
from .messages import PartialAnswer
from .states import ChainState, LeafState

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


def watch_loop(run: Run) -> None:
    """End a root run, and what is open below it, when the event loop that runs here is gone."""
    loop = running_loop()
    if loop is not None:
        run.state.watch = watched_loop(loop, run)


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
    """Record a closed run as cancelled, with what had come of its output."""
    state = run.state
    output = None
    if isinstance(state, LeafState):
        release(state)
        if state.parts:
            output = PartialAnswer(state.parts)
    elif isinstance(state, ChainState):
        output = state.latest
    if not run.folded:
        run.observation.cancel()
        run.observation.finish(output)
    above: Any = run.parent.state if run.parent is not None else None
    if output is not None and isinstance(above, ChainState):
        above.latest = output


def sweep() -> None:
    """End the runs whose ids or event loops are gone."""
    while lost:
        try:
            reference = lost.popleft()
        except IndexError:
            return
        run = tracing.registry.get(reference.key)
        run_id = reference.run_id() if reference.run_id is not None else None
        if run is not None and run_id is not None:  # a sync stream is read on outside of its loop
            run.state.watch = watched(run_id, reference.children)
            continue
        for child in list((reference.children or {}).values()):
            for below in (*child.open_below(), child):
                end(below.key)
        end(reference.key)

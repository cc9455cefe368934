"""Runs of workflows and their steps; a step that waits for an event and runs again is one row."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.steps import AgentSteps
from langfuse_integration.recording.tracing import registry

from . import continuations, rows
from .continuations import Continuation
from .folding import Role, is_a
from .places import Fold, Thinking
from .private import waits
from .workflow_events import EventSnapshot

WAITING = "waiting for an event"
WAITING_LIMIT = 1_000
RELEASED = "IdleReleasedEvent"
"""The result of a run that a durable runtime released while it waited (llama-index-workflows 2.14 to 2.26)."""


class WorkflowRun(rows.RowState):
    """The state of a run of a workflow.

    Attributes:
        steps: the agent's thinks and acts, or None when it is no agent.
        thinking: the open steps in which an agent decides.
        waiting: name, event and row of each step that waits for an event and will run again.
        cancelled: whether its user cancelled it.
        continuation: the part of the run that outlives it; None only before its row is open.
    """

    __slots__ = ("cancelled", "continuation", "steps", "thinking", "waiting")

    def __init__(self, role: Role, instance: Any, steps: AgentSteps | None) -> None:
        super().__init__(role, instance)
        self.steps = steps
        self.continuation: Continuation | None = None
        self.thinking: list[Thinking] = []
        self.waiting: list[tuple[str, Any, Run]] = []
        self.cancelled = False

    def exit(self, run: Run, result: Any) -> None:
        """End the run with its result, or as released while it waits."""
        if is_a(result, RELEASED):
            self._release(run)
            return
        self._forget(finished=result is not None)
        self._settle(run)
        rows.finish(run.key, EventSnapshot(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the run with its error, and the rows that are open below it; a run that only waits is released."""
        if type(error).__name__ == "CancelledError" and self._idle(run):
            self._release(run)
            return
        self._end_waits()
        rows.cancel_below(run)
        self._forget()
        self._settle(run)
        rows.fail(run.key, error)

    def abandon(self, run: Run) -> None:
        """End the run because the row above was cut short."""
        self._forget()
        super().abandon(run)

    def cancel(self, run: Run) -> None:
        """Note that its user cancelled the run; one that waits, and whose context was saved, is only put aside."""
        if self.continuation is not None and self.continuation.saved and self._idle(run):
            run.observation.level, run.observation.status_message = "DEFAULT", WAITING
            return
        self.cancelled = True
        run.observation.cancel()

    def wait(self, name: str, event: Any, row: Run) -> None:
        """Keep the row of a step open while it waits for an event."""
        if self.continuation is not None and self.steps is not None:
            continuations.wait(self.continuation, event)
        self.waiting.append((name, event, row))
        if len(self.waiting) > WAITING_LIMIT:
            _end_waiting(self.waiting.pop(0)[2])

    def resumed(self, name: str, event: Any) -> Run | None:
        """Return the row of the step that waited with the same event, or None."""
        for index, (waiting_name, waiting_event, row) in enumerate(self.waiting):
            if waiting_name == name and _same(waiting_event, event):
                del self.waiting[index]
                if self.continuation is not None:
                    continuations.wake(self.continuation, waiting_event)
                return row
        return None

    def _idle(self, run: Run) -> bool:
        """Return whether nothing runs in the run: it waits for an event from outside.

        Where none of its steps says that it waits, the run may be between two steps, or before its first one. A server
        releases runs that have begun, and none that another run has started.
        """
        if not self.waiting and (not run.begun or run.parent is not None):
            return False
        waiting = {row.key for _, _, row in self.waiting}
        return not self.thinking and waiting.issuperset(run.children)

    def _release(self, run: Run) -> None:
        """End the run as waiting; the one that continues it is another root of its trace."""
        if self.continuation is not None:
            continuations.share(self.continuation)
        self._settle(run)
        _end_waiting(run)

    def _forget(self, *, finished: bool = False) -> None:
        """Forget the run by its id; the tool calls for which steps wait, only if it has *finished*."""
        if self.continuation is not None:
            continuations.end(self.continuation)
            for _, event, _ in self.waiting if finished else ():
                continuations.wake(self.continuation, event)

    def _settle(self, run: Run) -> None:
        for think in list(self.thinking):
            think.release()
        self._end_waits()
        if self.steps is not None:
            self.steps.close(run.observation)

    def _end_waits(self) -> None:
        """End the rows of the steps that wait."""
        for _, _, row in self.waiting:
            if self.cancelled:
                rows.cancel(row.key)
            else:
                _end_waiting(row)
        self.waiting.clear()


class Step(rows.RowState):
    """The state of a step of a workflow, the acts of agents among them.

    Attributes:
        step: its name.
        event: its input.
        error: the error of the tool inside of it, or None.
    """

    error: BaseException | None = None

    def __init__(self, role: Role, name: str, event: Any) -> None:
        super().__init__(role, None)
        self.step = name
        self.event = event

    def exit(self, run: Run, result: Any) -> None:
        """End the step, unless it only waits for an event."""
        if result is None and self.waits(run):
            return
        rows.finish(run.key, EventSnapshot(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the step with its error, unless the error only says that the step waits."""
        if _is_waiting(error) and run.parent is not None and isinstance(run.parent.state, WorkflowRun):
            run.parent.state.wait(self.step, self.event, run)
            return
        super().drop(run, error)

    def waits(self, run: Run) -> bool:
        """Return whether a step without a result waits for an event; its row then stays open."""
        above = run.parent.state if run.parent is not None else None
        if not isinstance(above, WorkflowRun) or not (_is_waiting(self.error) or waits()):
            return False
        self.error = None
        above.wait(self.step, self.event, run)
        return True


class ResumedStep(Fold):
    """A step that runs again after waiting: its row continues."""

    def __init__(self, row: Run) -> None:
        self.run, self.key = row, row.key

    def exit(self, result: Any) -> None:
        """End the step, or wait once more."""
        if self.run is not None:
            self.run.state.exit(self.run, result)

    def drop(self, error: BaseException) -> None:
        """End the step with its error, or wait once more."""
        if self.run is not None:
            self.run.state.drop(self.run, error)


def _same(waiting: Any, event: Any) -> bool:
    if waiting is event:
        return True
    call_id = getattr(waiting, "tool_id", None)
    if call_id is not None:
        return bool(call_id == getattr(event, "tool_id", None))
    return type(waiting) is type(event) and bool(waiting == event)


def _is_waiting(error: BaseException | None) -> bool:
    return error is not None and type(error).__name__ == "WaitingForEvent"


def _end_waiting(row: Run) -> None:
    run = registry.close(row.key)
    if run is not None:
        run.observation.level = "DEFAULT"
        run.observation.status_message = WAITING
        run.observation.finish()

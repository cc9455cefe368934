"""Runs of workflows and their steps; a step that waits for an event and runs again is one row."""

from __future__ import annotations

from inspect import BoundArguments
from typing import Any

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.recording.anchor import Anchor
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.steps import AgentSteps, Decision
from langfuse_integration.recording.tracing import registry

from . import rows
from .folding import Role
from .places import Fold, Thinking
from .private import waiting_events, waits
from .workflow_events import EventSnapshot

WAITING = "waiting for an event"
WAITING_LIMIT = 1_000
INTERRUPTED_LIMIT = 1_000


class WorkflowRun(rows.RowState):
    """The state of a run of a workflow.

    Attributes:
        steps: the agent's thinks and acts, or None when it is no agent.
        thinking: the open steps in which an agent decides.
        waiting: name, event and row of each step that waits for an event and will run again.
        cancelled: whether its user cancelled it.
    """

    __slots__ = ("cancelled", "steps", "thinking", "waiting")

    def __init__(self, role: Role, instance: Any, steps: AgentSteps | None) -> None:
        super().__init__(role, instance)
        self.steps = steps
        self.thinking: list[Thinking] = []
        self.waiting: list[tuple[str, Any, Run]] = []
        self.cancelled = False

    def exit(self, run: Run, result: Any) -> None:
        """End the run with its result."""
        self._settle(run)
        rows.finish(run.key, EventSnapshot(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the run with its error, and the rows that are open below it."""
        rows.cancel_below(run)
        self._settle(run)
        rows.fail(run.key, error)

    def cancel(self, run: Run) -> None:
        """Note that the run was cancelled by its user."""
        self.cancelled = True
        run.observation.cancel()

    def wait(self, name: str, event: Any, row: Run) -> None:
        """Keep the row of a step open while it waits for an event."""
        self.waiting.append((name, event, row))
        if len(self.waiting) > WAITING_LIMIT:
            _end_waiting(self.waiting.pop(0)[2])

    def resumed(self, name: str, event: Any) -> Run | None:
        """Return the row of the step that waited with the same event, or None."""
        for index, (waiting_name, waiting_event, row) in enumerate(self.waiting):
            if waiting_name == name and _same(waiting_event, event):
                del self.waiting[index]
                return row
        return None

    def _settle(self, run: Run) -> None:
        for think in list(self.thinking):
            think.release()
        for _, event, row in self.waiting:
            _remember(event, run, self.steps)
            if self.cancelled:
                rows.cancel(row.key)
            else:
                _end_waiting(row)
        self.waiting.clear()
        if self.steps is not None:
            self.steps.close(run.observation)


class Step(rows.RowState):
    """The state of a step of a workflow, the acts of agents among them.

    Attributes:
        step: its name.
        event: its input.
        error: the error of the tool inside of it, or None.
    """

    __slots__ = ("error", "event", "step")

    def __init__(self, role: Role, instance: Any, name: str, event: Any) -> None:
        super().__init__(role, instance)
        self.step = name
        self.event = event
        self.error: BaseException | None = None

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

    __slots__ = ()

    def exit(self, result: Any) -> None:
        """End the step, or wait once more."""
        if self.run is not None:
            self.run.state.exit(self.run, result)

    def drop(self, error: BaseException) -> None:
        """End the step with its error, or wait once more."""
        if self.run is not None:
            self.run.state.drop(self.run, error)


class InterruptedRun:
    """A run that ended while it waited for an event; the run that continues it is another root of its trace.

    Attributes:
        anchor: the trace and the session, without a span.
        decided: the tool calls that its thinks asked for.
    """

    __slots__ = ("anchor", "decided")

    def __init__(self, run: Run, steps: AgentSteps) -> None:
        observation = run.observation
        captured = (observation.session, observation.origin)
        self.anchor = Anchor(observation.trace, 0, captured, observation.started_ns, exported=False)
        self.decided: dict[str, Decision] = dict(steps.decided)


_interrupted: BoundedDict[str, InterruptedRun] = BoundedDict(INTERRUPTED_LIMIT)
"""By the id of a tool call that waits."""


def _remember(event: Any, run: Run, steps: AgentSteps | None) -> None:
    call_id = getattr(event, "tool_id", None)
    if steps is None or not isinstance(call_id, str):
        return
    _interrupted[call_id] = InterruptedRun(run, steps)


def interrupted(bound: BoundArguments) -> InterruptedRun | None:
    """Return the run of this process that the one with these arguments continues, or None.

    The two runs share the ids of the tool calls that wait in the saved context.
    """
    if not _interrupted or bound.arguments.get("start_event") is not None:
        return None
    for event in waiting_events(bound.arguments.get("init_state")):
        run = _interrupted.pop(str(getattr(event, "tool_id", "")), None)
        if run is not None:
            return run
    return None


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

"""Runs of workflows and agents, and their steps.

An agent's think is the model call itself, marked as such, and not the step around it: the step holds the same messages
and the same answer again, so that a replay would show every decision twice. Its act is the step that calls the tool,
which knows the tool call's id; the tool's own span is folded into it. The other steps of an agent only pass events on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from langfuse_integration import payload
from langfuse_integration.observation import Observation, describe
from langfuse_integration.registry import Run
from langfuse_integration.steps import AgentSteps
from langfuse_integration.tracing import registry, start_below

from . import rows, tools
from .folding import FUNCTION, RUN, TOOL, Role, is_a
from .places import Fold, Place, folds
from .private import waits

AGENTS = ("BaseWorkflowAgent", "AgentWorkflow")
PLUMBING_STEPS = frozenset({"init_run", "setup_agent", "parse_agent_output", "aggregate_tool_results"})
THINK, ACT = "run_agent_step", "call_tool"
DEFAULT_NAME = "Agent"
WAITING = "waiting for an event"
WAITING_LIMIT = 1_000


class Asked:
    """What a run was started with, by reference."""

    __slots__ = ("arguments",)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments


class Given:
    """What a step or run gave, by reference."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


class WorkflowRun(rows.Row):
    """The state of a run of a workflow.

    Attributes:
        steps: the agent's thinks and acts, or None when it is no agent.
        thinking: the steps in which an agent is thinking right now.
        waiting: rows of steps that wait for an event and will run again, with the event that they work on.
    """

    __slots__ = ("cancelled", "steps", "thinking", "waiting")

    def __init__(self, role: Role, instance: Any, steps: AgentSteps | None) -> None:
        super().__init__(role, instance)
        self.steps = steps
        self.thinking: list[Think] = []
        self.waiting: list[tuple[str, Any, Run]] = []
        self.cancelled = False

    def exit(self, run: Run, result: Any) -> None:
        """End the run with its result."""
        self._settle(run)
        rows.finish(run.key, Given(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the run with its error; what is still open below will never hear of it."""
        for below in list(run.open_below()):
            rows.cancel(below.key)
        self._settle(run)
        rows.fail(run.key, error)

    def cancel(self, run: Run) -> None:
        """Note that the run was cancelled by its user."""
        self.cancelled = True
        run.observation.cancel()

    def wait(self, name: str, event: Any, row: Run) -> None:
        """Keep the row of a step open that waits for an event."""
        self.waiting.append((name, event, row))
        if len(self.waiting) > WAITING_LIMIT:
            _end_waiting(self.waiting.pop(0)[2])

    def resumed(self, name: str, event: Any) -> Run | None:
        """Return the row of a step that waited and now runs again on the same event, or None."""
        for index, (waiting_name, waiting_event, row) in enumerate(self.waiting):
            if waiting_name == name and _same(waiting_event, event):
                del self.waiting[index]
                return row
        return None

    def _settle(self, run: Run) -> None:
        for think in list(self.thinking):
            think.release()
        for _, _, row in self.waiting:
            if self.cancelled:
                rows.cancel(row.key)
            else:
                _end_waiting(row)
        self.waiting.clear()
        if self.steps is not None:
            self.steps.close(run.observation)


class Step(rows.Row):
    """The state of a step of a workflow, the acts of agents among them.

    Attributes:
        name: the step's.
        event: what it works on.
        error: what the tool inside of it raised.
    """

    __slots__ = ("error", "event", "name")

    def __init__(self, role: Role, instance: Any, name: str, event: Any) -> None:
        super().__init__(role, instance)
        self.name = name
        self.event = event
        self.error: BaseException | None = None

    def exit(self, run: Run, result: Any) -> None:
        """End the step, unless it only waits for an event."""
        if result is None and self._waits(run):
            return
        rows.finish(run.key, Given(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the step with its error; to wait for an event is none."""
        if _is_waiting(error) and run.parent is not None and isinstance(run.parent.state, WorkflowRun):
            run.parent.state.wait(self.name, self.event, run)
            return
        super().drop(run, error)

    def _waits(self, run: Run) -> bool:
        above = run.parent.state if run.parent is not None else None
        if not isinstance(above, WorkflowRun) or not (_is_waiting(self.error) or waits()):
            return False
        self.error = None
        above.wait(self.name, self.event, run)
        return True


class Act(Step):
    """The state of a tool call that an agent decided on.

    Attributes:
        claimed: whether the tool's own span has been folded into it.
    """

    __slots__ = ("claimed",)

    def __init__(self, role: Role, instance: Any, name: str, event: Any) -> None:
        super().__init__(role, instance, name, event)
        self.claimed = False

    def exit(self, run: Run, result: Any) -> None:
        """End the act with the tool's output; a tool's error is the row's."""
        if result is None and self._waits(run):
            self.claimed = False
            return
        output = getattr(result, "tool_output", None)
        tools.note_failure(run.observation, output)
        if run.observation.level == "ERROR" and self.error is not None:
            run.observation.status_message = describe(self.error)
        rows.finish(run.key, tools.Outcome(output) if output is not None else None)


class Again(Fold):
    """A step that runs again after it has waited: its row goes on."""

    __slots__ = ()

    def exit(self, result: Any) -> None:
        """End the step, or wait once more."""
        if self.run is not None:
            self.run.state.exit(self.run, result)

    def drop(self, error: BaseException) -> None:
        """End the step with its error, or wait once more."""
        if self.run is not None:
            self.run.state.drop(self.run, error)


class Think(Fold):
    """An agent's step around the model call in which it decides.

    What the agent made of the answer is known when the step ends, so the last model call's row is held until then.
    """

    __slots__ = ("above", "asked", "ended", "held", "seen", "started_ns")

    def __init__(self, above: Run, event: Any) -> None:
        super().__init__(above, above.key)
        self.think = self
        self.above: WorkflowRun = above.state
        self.asked = event
        self.held: tuple[Observation, int] | None = None
        self.seen = self.ended = False
        self.started_ns = time.time_ns()
        self.above.thinking.append(self)

    def decides(self, observation: Observation) -> None:
        """Mark a model call as a think of the agent."""
        self.seen = True
        self.release()
        if self.above.steps is not None:
            self.above.steps.think(observation)

    def hold(self, observation: Observation) -> None:
        """Keep the row of a model call that has answered until the step ends."""
        self.release()
        self.held = (observation, observation.elapsed_to_wall())
        if self.ended:
            self.release()

    def release(self) -> None:
        """End the row that is held, at the time when the model had answered."""
        held, self.held = self.held, None
        if held is not None:
            held[0].end(held[1])

    def exit(self, result: Any) -> None:
        """Link the decision to the tool calls that came of it."""
        steps = self.above.steps
        calls = [(call.tool_id, call.tool_name) for call in getattr(result, "tool_calls", None) or ()]
        if not self.seen and result is not None:
            self._decided_without_a_model(result, calls)
        elif self.held is not None and steps is not None and calls:
            steps.decide(self.held[0], calls)
        self._end()

    def drop(self, error: BaseException) -> None:
        """End what is held: the error shows on the run."""
        self._end()

    def _end(self) -> None:
        self.ended = True
        self.release()
        if self in self.above.thinking:
            self.above.thinking.remove(self)

    def _decided_without_a_model(self, result: Any, calls: list[tuple[str | None, str]]) -> None:
        """Record the step itself: the agent decided by other means than a model of LlamaIndex."""
        if self.run is None or self.above.steps is None:
            return
        observation = start_below(self.run.anchor, THINK, "chain", input=Given(self.asked))
        observation.started_ns = self.started_ns
        self.above.steps.think(observation)
        self.above.steps.decide(observation, calls)
        observation.output = Given(result)
        observation.end(time.time_ns())


# -- starts


def enter_run(id_: str, instance: Any, place: Place, arguments: Mapping[str, Any]) -> None:
    """Open the row of a workflow's or an agent's run."""
    if is_a(instance, *AGENTS):
        name = agent_name(instance)
        state = WorkflowRun(RUN._replace(type="agent", read=Asked), instance, AgentSteps(name))
    else:
        name = type(instance).__name__
        state = WorkflowRun(RUN._replace(read=Asked), instance, None)
    rows.open_row(id_, place, name, state, arguments)


def agent_name(instance: Any) -> str:
    """Return an agent's name; one that nobody named goes by its class."""
    name = getattr(instance, "name", None)
    return name if isinstance(name, str) and name and name != DEFAULT_NAME else type(instance).__name__


def enter_step(id_: str, name: str, place: Place, arguments: Mapping[str, Any]) -> None:
    """Open the row of a workflow's step, or fold it into the run."""
    run = place.run
    if run is None:
        return
    above: WorkflowRun = run.state
    step = name.rpartition(".")[2]
    event = event_of(arguments)
    if above.waiting:
        row = above.resumed(step, event)
        if row is not None:
            folds.open(id_, Again(row, row.key))
            return
    if above.steps is None:
        rows.open_row(id_, place, step, Step(_STEP, None, step, event), arguments)
    elif step == THINK:
        above.steps.name = getattr(event, "current_agent_name", None) or above.steps.name
        if above.steps.name == DEFAULT_NAME:
            above.steps.name = agent_name(above.instance)
        folds.open(id_, Think(run, event))
    elif step == ACT:
        act = rows.open_row(id_, place, str(getattr(event, "tool_name", step)), Act(_ACT, None, step, event), arguments)
        if act is not None:
            above.steps.act(act.observation, getattr(event, "tool_id", None))
    elif step in PLUMBING_STEPS:
        folds.open(id_, Fold(run, run.key))
    else:
        rows.open_row(id_, place, step, Step(_STEP, None, step, event), arguments)


def event_of(arguments: Mapping[str, Any]) -> Any:
    """Return the event among a step's arguments."""
    if "ev" in arguments:
        return arguments["ev"]
    return next((value for value in arguments.values() if is_a(value, "Event")), None)


def _step_input(arguments: Mapping[str, Any]) -> Any:
    events = [value for value in arguments.values() if is_a(value, "Event") or isinstance(value, list)]
    return Given(events[0]) if len(events) == 1 else [Given(event) for event in events]


_STEP = FUNCTION._replace(type="chain", read=_step_input)
_ACT = TOOL._replace(read=lambda arguments: getattr(event_of(arguments), "tool_kwargs", None))


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


# -- on the worker: plain values


def _asked(asked: Asked) -> Any:
    """Return what an agent was asked, or the fields of a workflow's start event."""
    arguments = asked.arguments
    start = arguments.get("start_event")
    if start is None:
        shown = {key: value for key, value in arguments.items() if key in ("user_msg", "chat_history") and value}
        extra = arguments.get("kwargs")
        shown.update(extra if isinstance(extra, Mapping) else {})
        return _question(shown) if shown else "[resumed from a saved context]"
    return _question(fields_of(start))


def _question(fields: dict[str, Any]) -> Any:
    history, message = fields.get("chat_history"), fields.get("user_msg")
    if message is None and not history:
        return fields
    content = message
    if not isinstance(message, (str, type(None))):
        content = message.content if len(message.blocks) == 1 and isinstance(message.content, str) else message
    if not history:
        return content
    return [*history, *([{"role": "user", "content": message} if isinstance(message, str) else message] if message else [])]


def fields_of(event: Any) -> dict[str, Any]:
    """Return an event's fields, declared and not, that have a value."""
    declared = {name: getattr(event, name, None) for name in getattr(type(event), "model_fields", {})}
    dynamic = getattr(event, "_data", None)
    entries = {**declared, **(dynamic if isinstance(dynamic, Mapping) else {})}
    return {key: value for key, value in entries.items() if value is not None}


def _given(given: Given) -> Any:
    result = given.result
    if isinstance(result, list):
        return [Given(item) for item in result]
    if is_a(result, "StopEvent") and set(getattr(type(result), "model_fields", {})) <= {"result"}:
        result = getattr(result, "result", None)
    if is_a(result, "AgentOutput"):
        return _agent_output(result)
    if is_a(result, "Event"):
        return {"event": type(result).__name__, **fields_of(result)}
    return result


def _agent_output(output: Any) -> Any:
    message = output.response
    if output.structured_response is not None:
        return {"response": message.content, "structured_response": output.structured_response}
    return message.content if message.content is not None else message


def register() -> None:
    """Tell the worker how to write events, and what runs were asked and gave."""
    payload.register(Asked, _asked)
    payload.register(Given, _given)

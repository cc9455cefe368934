"""Agents: where they think and where they act.

A think is the model call itself; the step around it has the same messages and the same answer, so that a row for it
would show every decision twice. An act is the step that calls the tool, which has the tool call's id; the tool's own
span is folded into it. The other steps of an agent only pass events on.
"""

from __future__ import annotations

from inspect import BoundArguments
from typing import Any

from langfuse_integration.recording import clocks, resumption
from langfuse_integration.recording.observation import Observation, describe
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.steps import AgentSteps
from langfuse_integration.recording.tracing import start_below

from . import continuations, rows, tools
from .folding import FUNCTION, RUN, TOOL, Role, is_a
from .places import Fold, SpanPlace
from .workflow_events import EventSnapshot, RunInput, event_of, events_of
from .workflows import ResumedStep, Step, WorkflowRun

AGENTS = ("BaseWorkflowAgent", "AgentWorkflow")
PLUMBING_STEPS = frozenset({"init_run", "setup_agent", "parse_agent_output", "aggregate_tool_results"})
THINK, ACT = "run_agent_step", "call_tool"
DEFAULT_NAME = "Agent"


class Act(Step):
    """The state of a tool call that an agent decided.

    Attributes:
        claimed: whether the tool's own span has been folded into it.
    """

    claimed = False

    def exit(self, run: Run, result: Any) -> None:
        """End the act with the tool's output; a tool's error is the row's."""
        if result is None and self.waits(run):
            self.claimed = False
            return
        output = getattr(result, "tool_output", None)
        tools.note_failure(run.observation, output)
        if run.observation.level == "ERROR" and self.error is not None:
            run.observation.status_message = describe(self.error)
        rows.finish(run.key, tools.ToolOutcome(output) if output is not None else None)


class Think(Fold):
    """An agent's step around the model call in which it decides.

    The tool calls that follow from the answer are known when the step ends; until then the row of the last model call
    stays pending.

    Attributes:
        above: the state of the agent's run.
        event: the input of the step.
        pending: the row of the model call that has answered, and its end time.
        seen: whether a model call was seen.
        ended: whether the step has ended.
    """

    def __init__(self, above: Run, event: Any) -> None:
        self.run, self.key = above, above.key
        self.think = self
        self.above: WorkflowRun = above.state
        self.event = event
        self.pending: tuple[Observation, int] | None = None
        self.seen = self.ended = False
        self.started = clocks.read()
        self.above.thinking.append(self)

    def decides(self, observation: Observation) -> None:
        """Mark a model call as a think of the agent."""
        self.seen = True
        if self.pending is not None:
            self.release()
        if self.above.steps is not None:
            self.above.steps.think(observation)

    def hold(self, observation: Observation) -> None:
        """Keep the row of a model call that has answered until the step ends."""
        if self.pending is not None:
            self.release()
        self.pending = (observation, observation.elapsed_to_wall())
        if self.ended:
            self.release()

    def release(self) -> None:
        """End the pending row, at the time when the model had answered."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending[0].end(pending[1])

    def exit(self, result: Any) -> None:
        """Link the decision to the tool calls that follow from it."""
        steps = self.above.steps
        calls = [(call.tool_id, call.tool_name) for call in getattr(result, "tool_calls", None) or ()]
        if not self.seen and result is not None:
            self._decided_without_a_model(result, calls)
        elif self.pending is not None and steps is not None and calls:
            steps.decide(self.pending[0], calls)
        self._end()

    def drop(self, error: BaseException) -> None:
        """End the pending row; the error shows on the run."""
        self._end()

    def _end(self) -> None:
        self.ended = True
        if self.pending is not None:
            self.release()
        if self in self.above.thinking:
            self.above.thinking.remove(self)

    def _decided_without_a_model(self, result: Any, calls: list[tuple[str | None, str]]) -> None:
        """Record the step itself: the agent decided without a model of LlamaIndex."""
        if self.run is None or self.above.steps is None:
            return
        observation = start_below(self.run.anchor, THINK, "chain", input=EventSnapshot(self.event))
        observation.set_back(*self.started)
        self.above.steps.think(observation)
        self.above.steps.decide(observation, calls)
        observation.output = EventSnapshot(result)
        observation.end()


# -- starts


def enter_run(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    """Open the row of a workflow's or an agent's run."""
    earlier = continuations.recall(bound)
    if is_a(instance, *AGENTS):
        name = agent_name(instance)
        steps = earlier.next_steps() if earlier is not None else None
        state = WorkflowRun(_AGENT_RUN, instance, steps or AgentSteps(name))
    else:
        name = type(instance).__name__
        state = WorkflowRun(RUN, instance, None)
    run = rows.open_row(id_, place, name, state, RunInput(bound), earlier=earlier)
    if run is None:
        return
    state.continuation = continuations.begin(run.observation, state.steps)
    if state.resumes is not None:
        resumption.link(run, state.resumes)


def agent_name(instance: Any) -> str:
    """Return the name of an agent; its class name if it has LlamaIndex's default name."""
    name = getattr(instance, "name", None)
    return name if isinstance(name, str) and name and name != DEFAULT_NAME else type(instance).__name__


def enter_step(id_: str, name: str, place: SpanPlace, bound: BoundArguments) -> SpanPlace | None:
    """Open the row of a workflow's step, or return its fold: it has no row of its own."""
    run = place.run
    if run is None:
        return None
    above: WorkflowRun = run.state
    step = name.rpartition(".")[2]
    event = bound.arguments["ev"] if "ev" in bound.arguments else event_of(bound)
    if above.waiting:
        row = above.resumed(step, event)
        if row is not None:
            return ResumedStep(row)
    if above.steps is not None:
        if step in PLUMBING_STEPS:
            return place
        if step == THINK:
            current = getattr(event, "current_agent_name", None) or above.steps.name
            above.steps.name = current if current != DEFAULT_NAME else above.name
            return Think(run, event)
        if step == ACT:
            given = getattr(event, "tool_kwargs", None)
            act = rows.open_row(id_, place, str(getattr(event, "tool_name", step)), Act(TOOL, step, event), given)
            if act is not None:
                above.steps.act(act.observation, getattr(event, "tool_id", None))
            return None
    rows.open_row(id_, place, step, Step(_STEP, step, event), events_of(bound))
    return None


_AGENT_RUN = RUN._replace(type="agent")
_STEP = FUNCTION._replace(type="chain")

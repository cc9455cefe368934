"""Think and act, told apart and linked, the same for every framework.

A think is a model call in which an agent decides; an act is a tool call that it decided on. They are linked by the id
that the model gave the tool call. What this writes into an observation's metadata:

    think   step_type="think", step_index, agent_name, tool_calls=[{id, name}]
    act     step_type="act", agent_name, tool_call_id, think_id (the think's observation id), step_index of that think
    agent   unanswered_tool_calls=[{id, name, think_id}], when there are any at its end
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Self

from .observation import Observation

CALLS_LIMIT = 1_000
"""Tool calls of one agent run that are remembered for their acts."""


class Decision(NamedTuple):
    """A tool call that a think asked for."""

    name: str
    think_id: str
    step_index: int


_decision: Callable[[tuple[str, str, int]], Decision] = partial(tuple.__new__, Decision)
"""Makes a decision as the constructor of a `NamedTuple` does, which would be a call for each."""


class AgentSteps:
    """The steps of one agent run.

    Args:
        name: the agent's name, or None when it has none.
        decided: decisions of an earlier run that this one continues (an interrupt and its resume).
    """

    __slots__ = ("_count", "answered", "decided", "name")

    def __init__(self, name: str | None = None, decided: dict[str, Decision] | None = None) -> None:
        self.name = name
        self.decided: dict[str, Decision] = dict(decided or {})
        self.answered: set[str] = set()
        self._count = 0

    def to_json(self) -> list[Any]:
        """Return what a later run needs for going on, as JSON's values; `from_json` takes it, in whatever process."""
        decided = {call_id: list(decision) for call_id, decision in self.decided.items()}
        return [self.name, self._count, decided, sorted(self.answered)]

    @classmethod
    def from_json(cls, told: list[Any]) -> Self:
        """Return the steps that `to_json` told of."""
        name, count, decided, answered = told
        steps = cls(name, {call_id: Decision(*decision) for call_id, decision in decided.items()})
        steps._count = count
        steps.answered.update(steps.decided.keys() & answered)  # release 0.2 tells more: see `withdraw`
        return steps

    @property
    def count(self) -> int:
        """How many thinks there were so far."""
        return self._count

    def think(self, observation: Observation) -> None:
        """Mark a model call as the next think."""
        self._count += 1
        entries: dict[str, Any] = {"step_type": "think", "step_index": self._count}
        if self.name:
            entries["agent_name"] = self.name
        observation.metadata = {**observation.metadata, **entries} if observation.metadata else entries

    def decide(self, observation: Observation, calls: Iterable[tuple[str | None, str]]) -> None:
        """Note the tool calls, as (id, tool name), that a think asked for."""
        index = (observation.metadata or {}).get("step_index", self._count)
        asked = []
        think_id = f"{observation.span:016x}"  # as `id`, without the call
        for call_id, tool in calls:
            asked.append({"id": call_id, "name": tool})
            if call_id:
                self.decided[call_id] = _decision((tool, think_id, index))
        if asked:
            metadata = observation.metadata
            observation.metadata = {**metadata, "tool_calls": asked} if metadata else {"tool_calls": asked}
        while len(self.decided) > CALLS_LIMIT:
            self.withdraw(next(iter(self.decided)))

    def act(self, observation: Observation, call_id: str | None) -> None:
        """Mark a tool call as an act, and link it to the think that asked for it."""
        entries: dict[str, Any] = {"step_type": "act"}
        if self.name:
            entries["agent_name"] = self.name
        if call_id:
            entries["tool_call_id"] = call_id
            decision = self.decided.get(call_id)
            if decision is not None:
                self.answered.add(call_id)
                entries["think_id"] = decision.think_id
                entries["step_index"] = decision.step_index
        observation.metadata = {**observation.metadata, **entries} if observation.metadata else entries

    def withdraw(self, call_id: str) -> None:
        """Forget a tool call: no act is to answer it. What is answered was decided, so that numbers can be compared."""
        self.decided.pop(call_id, None)
        self.answered.discard(call_id)

    def unanswered(self) -> list[dict[str, str]]:
        """Return the tool calls that no act answered."""
        return [
            {"id": call_id, "name": decision.name, "think_id": decision.think_id}
            for call_id, decision in self.decided.items()
            if call_id not in self.answered
        ]

    def close(self, observation: Observation) -> None:
        """Note on the agent's own row which tool calls were asked for and never made."""
        left = self.unanswered()
        if left:
            observation.add_metadata({"unanswered_tool_calls": left})

"""The place of a running call in a recording, also where an agent or a server has another name now."""

from __future__ import annotations

from typing import NamedTuple

from .matching import CallPlace, Matcher
from .question import Question, QuestionKind
from .recording import RecordedStep, Recording


class FoundPlace(NamedTuple):
    """A place.

    Attributes:
        renamed: a step of the agent that the asking one stands for, if that shows here for the first time.
    """

    place: CallPlace
    renamed: RecordedStep | None = None


class CallPlaces:
    """Finds the places of calls.

    Args:
        matcher: knows which steps are left.
    """

    def __init__(self, recording: Recording, matcher: Matcher) -> None:
        self._matcher = matcher
        self._kinds: set[tuple[QuestionKind, str | None]] = set()
        self._tools: set[tuple[str | None, str]] = set()
        self._calls: set[tuple[str | None, str]] = set()
        self._names: dict[str | None, str | None] = {}
        self.agents: set[str | None] = set()
        for step in recording.steps:
            self.agents.add(step.agent)
            self._kinds.add((step.kind, step.agent))
            if step.kind == "tool":
                self._tools.add((step.agent, step.name))
            elif step.kind == "mcp":
                self._calls.add((step.agent, step.tool))

    def find(self, question: Question, agent: str | None, turn: range | None) -> FoundPlace:
        """Return the place of a call; an agent that the recording does not know stands for one that it knows."""
        request = question.name if question.kind != "model" else None
        if agent in self._names:
            return FoundPlace(CallPlace(question.kind, self._names[agent], request))
        known = (question.kind, agent) in self._kinds
        step = None if known else self._matcher.anywhere(question.kind, request, turn)
        if step is None:
            return FoundPlace(CallPlace(question.kind, agent, request))
        self._names[agent] = step.agent
        return FoundPlace(CallPlace(question.kind, step.agent, request), step if agent not in self.agents else None)

    def is_of_server(self, place: CallPlace) -> bool:
        """Return whether a tool is but a call of an MCP server, which answers for it."""
        tool = place.agent, place.request or ""
        return tool not in self._tools and tool in self._calls

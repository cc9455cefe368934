"""The filter of a session's steps: by kind, agent, tool and text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

from ..presentation import agent_of, title_of
from ..reading.archive import Archive
from ..reading.conditions import of_session
from ..reading.replay import Observed
from ..reading.search import holds

KINDS = ("think", "act", "retriever", "error")
CHOICES_LIMIT = 100


class StepFilter(NamedTuple):
    """What a step has to be; empty values do not matter.

    Attributes:
        kind: one of KINDS.
        agent, tool: names, in upper or lower case; a tool's with or without its MCP server.
        text: occurs in the step.
    """

    kind: str = ""
    agent: str = ""
    tool: str = ""
    text: str = ""
    errors: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> StepFilter:
        """Return the filter of an address."""
        kind = query.get("kind", "")
        return cls(
            kind if kind in KINDS else "",
            query.get("agent", "").strip(),
            query.get("tool", "").strip(),
            query.get("q", ""),
            bool(query.get("errors")) or kind == "error",
        )

    @property
    def words(self) -> str:
        """The filter as a heading, without the text."""
        words = [{"act": "acts", "think": "thinks", "retriever": "retrievers"}.get(self.kind, "")]
        words += ["errors"] if self.errors else []
        words += [f"of {self.agent}"] if self.agent else []
        words += [f"calls of {self.tool}"] if self.tool else []
        return ", ".join(word for word in words if word)

    def matches(self, observation: Observed) -> bool:
        """Return whether a step is selected."""
        kind = {"think": observation.is_think, "act": observation.is_act, "retriever": observation.type == "retriever"}
        if not kind.get(self.kind, True) or (self.errors and observation.level != "ERROR"):
            return False
        if self.agent and agent_of(observation).casefold() != self.agent.casefold():
            return False
        if self.tool:
            title = title_of(observation)
            names = {str(title).casefold(), title.name.casefold(), observation.name.casefold()}
            if observation.type != "tool" or self.tool.casefold() not in names:
                return False
        return not self.text or holds(observation, self.text)

    def selected(self, archive: Archive, session_id: str | None, limit: int) -> list[Observed]:
        """Return the first steps of a session that match, by their starts."""
        if not (self.kind in ("think", "act", "retriever") or self.agent or self.tool):
            return archive.find(session_id, self.text, errors=self.errors, limit=limit)
        only_type = "tool" if self.tool else "retriever" if self.kind == "retriever" else ""
        kind = self.kind if self.kind in ("think", "act") else ""
        words = [word for word in (kind, _word(self.agent), _word(self.tool), self.text) if word]
        return list(islice(filter(self.matches, archive.candidates(session_id, words, only_type)), limit))


def _word(name: str) -> str:
    """Return the longest part of a name that stands in a row as it is, whatever is put between parts; or nothing."""
    return max(re.findall(r"[A-Za-z0-9_-]+", name), key=len, default="")


def choices(archive: Archive, session_id: str | None) -> dict[str, list[str]]:
    """Return the names of a session's agents and tools."""
    where, values = of_session(session_id)
    sql = f"SELECT DISTINCT name FROM spans WHERE {where} AND type = :type ORDER BY name LIMIT :limit"
    return {
        kind: [row[0] for row in archive.query(sql, {**values, "type": kind, "limit": CHOICES_LIMIT})]
        for kind in ("agent", "tool")
    }

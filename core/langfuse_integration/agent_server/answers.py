"""The tools' answers, read from a journal that is opened for each, so that a new one is seen at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..reading.archive import Archive
from . import reports
from .reports import Report, SessionQuery

ANSWERS: Mapping[str, Callable[[Archive, dict[str, Any]], Report]] = {
    "find_sessions": lambda archive, given: reports.find_sessions(archive, SessionQuery(**given)),
    "read_session": lambda archive, given: reports.read_session(archive, **given),
    "read_step": lambda archive, given: reports.read_step(archive, **given),
    "search": lambda archive, given: reports.search(archive, **given),
    "compare": lambda archive, given: reports.compare(archive, **given),
    "diagnose": lambda archive, given: reports.diagnose(),
}


class JournalAnswers:
    """Answers the tools from a journal."""

    def __init__(self, journal: Path | None) -> None:
        self._journal = journal

    def call(self, tool: str, given: dict[str, Any]) -> Report:
        """Return a tool's answer to valid arguments."""
        with Archive(self._journal) as archive:
            return ANSWERS[tool](archive, given)

    def newest(self, limit: int) -> list[str]:
        """Return the ids of the newest sessions."""
        with Archive(self._journal) as archive:
            return archive.matching("", limit=limit)

"""Taking things out of the journal that nobody wants to keep."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from .delivery.journal import DELIVERED, PENDING
from .errors import JournalUnreadable


class Selection(NamedTuple):
    """What is meant; several conditions have to hold together.

    Attributes:
        ended_before_ns: what ended before this time, in ns since 1970.
        session_ids: what is in one of these sessions; empty for all.
        delivered_only: what Langfuse has acknowledged.
        undelivered: what Langfuse is still to get, too.
    """

    ended_before_ns: int | None = None
    session_ids: Sequence[str] = ()
    delivered_only: bool = False
    undelivered: bool = True


class Counted(NamedTuple):
    """How much a selection is."""

    observations: int
    sessions: int


class Pruning:
    """A journal, open for taking things out.

    Raises:
        JournalUnreadable: it is no journal, or may not be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=5.0, isolation_level=None
            )
        except sqlite3.Error as error:
            raise JournalUnreadable(str(path), str(error)) from error

    def count(self, selection: Selection) -> Counted:
        """Return how much would go."""
        where, values = _where(selection)
        row = self._do(f"SELECT count(*), count(DISTINCT session_id) FROM spans WHERE {where}", values)[0]
        return Counted(*row)

    def remove(self, selection: Selection) -> Counted:
        """Take it out, and give the room back where nobody else is using the file; return how much it was."""
        where, values = _where(selection)
        self._do("BEGIN IMMEDIATE", {})
        try:
            found = self.count(selection)
            self._do(f"DELETE FROM spans WHERE {where}", values)
            self._do("DELETE FROM scores WHERE state != 0 AND trace_id NOT IN (SELECT trace_id FROM spans)", {})
            self._do("COMMIT", {})
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("VACUUM")
        except sqlite3.Error:  # somebody is writing; the file is reused as it is
            pass
        return found

    def _do(self, sql: str, values: dict[str, Any]) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise JournalUnreadable(str(self._path), str(error)) from error

    def __enter__(self) -> Pruning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()


def before(age_s: float) -> int:
    """Return the time that was *age_s* seconds ago, in ns since 1970."""
    return int((time.time() - age_s) * 1e9)


def _where(selection: Selection) -> tuple[str, dict[str, Any]]:
    conditions = ["1"]
    values: dict[str, Any] = {}
    if selection.ended_before_ns is not None:
        conditions.append("ended_ns < :before")
        values["before"] = selection.ended_before_ns
    if selection.session_ids:
        names = {f"session{place}": session for place, session in enumerate(selection.session_ids)}
        conditions.append(f"session_id IN ({', '.join(':' + name for name in names)})")
        values.update(names)
    if selection.delivered_only:
        conditions.append(f"state = {DELIVERED}")
    if not selection.undelivered:
        conditions.append(f"state != {PENDING}")
    return " AND ".join(conditions), values

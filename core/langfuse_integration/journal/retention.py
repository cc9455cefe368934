"""Retention: the bounds of a journal in bytes and in age. Whole sessions or traces go, the oldest first.

A session without its first half would show something that never happened. When the size is exceeded, the sessions
that were used last the longest time ago go; a trace without a session goes as a whole, too. Of the one session that is
left, whole traces go. When the age is exceeded, a trace goes when its last observation is that old.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..internals.faults import warn_once
from ..settings import VARIABLES
from .journal import Journal
from .timeline import Timeline

CHUNK = 256
"""Rows in one transaction, so that other processes can write in between."""
UNITS = 1_000
"""Sessions and traces that are looked up at once."""
FREE_PAGES = 256
VACUUM_PAGES = 2_048
_TARGET = 0.95
"""The share of its size that a full journal is brought down to, so that not every row evicts another."""
_OLDEST_UNITS = """
    SELECT session_id, trace_id, count(*) FROM spans
    WHERE session_id IS NOT NULL OR trace_id NOT IN (SELECT trace_id FROM spans WHERE session_id IS NOT NULL)
    GROUP BY session_id, CASE WHEN session_id IS NULL THEN trace_id END ORDER BY max(id) LIMIT :limit
"""
_OLDEST_TRACES = """
    SELECT NULL, trace_id, count(*) FROM spans GROUP BY trace_id ORDER BY max(id) LIMIT :limit
"""
_OF_UNITS = """
    SELECT id FROM spans WHERE session_id IN (SELECT value FROM json_each(:sessions))
    UNION SELECT id FROM spans WHERE trace_id IN (SELECT value FROM json_each(:traces))
    UNION SELECT id FROM spans WHERE session_id IS NULL AND trace_id IN (
        SELECT trace_id FROM spans WHERE session_id IN (SELECT value FROM json_each(:sessions)))
"""


class _Unit(NamedTuple):
    """The unit of removal: a session, or with None as its session a trace."""

    session_id: str | None
    trace_id: str
    row_count: int


class Retention:
    """The bounds of one journal.

    Args:
        max_bytes: of the pages in use; free pages of the file do not count.
        max_age_s: seconds since the last observation of a trace ended.
    """

    def __init__(self, journal: Journal, max_bytes: int, max_age_s: float) -> None:
        self._journal = journal
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        newest = journal.query("SELECT ended_ns FROM spans ORDER BY id DESC LIMIT 1")
        self._timeline = Timeline(newest[0][0] if newest else 0, max_age_s)
        self._leaving: list[int] = []  # rows of units whose removal has begun

    def apply(self, budget_s: float = 0.2) -> bool:
        """Remove what is too old or too much; return False when *budget_s* was not enough."""
        deadline = time.monotonic() + budget_s
        if not self._remove_leaving(deadline):
            return False
        oldest_ns = int(max(self._timeline.now_s() - self._max_age_s, 0) * 1e9)
        if not self._remove_old(oldest_ns, deadline):
            return False
        self._expire_scores_and_media(oldest_ns)
        self._remove_companions("ended_ns < :oldest", {"oldest": oldest_ns})
        return self._used() <= self._max_bytes or self._shrink(deadline)

    def give_back(self) -> None:
        """Remove parts of texts that no row uses, and return free room in the file to the system, some each time."""
        if self._journal.remove_unused() and self._number("freelist_count") > FREE_PAGES:
            self._journal.give_back(VACUUM_PAGES)

    # -- age

    def _remove_old(self, oldest_ns: int, deadline: float) -> bool:
        after = 0
        while True:
            rows = self._journal.query(
                f"SELECT id, trace_id FROM spans WHERE id > ? AND ended_ns < ? AND id IN "
                f"(SELECT id FROM spans WHERE id > ? ORDER BY id LIMIT {CHUNK})",
                (after, oldest_ns, after),
            )
            if not rows:
                return True
            after = max(number for number, _ in rows)
            traces = self._journal.query(
                "SELECT value FROM json_each(?) WHERE NOT EXISTS "
                "(SELECT 1 FROM spans WHERE trace_id = value AND ended_ns >= ?)",
                (json.dumps(sorted({trace_id for _, trace_id in rows})), oldest_ns),
            )
            if traces:
                self._warn("journal_max_age_s", f"{self._max_age_s:g} s")
                self._leaving = self._rows_of([_Unit(None, trace_id, 0) for (trace_id,) in traces])
                if not self._remove_leaving(deadline):
                    return False

    def _expire_scores_and_media(self, oldest_ns: int) -> None:
        tables = ("scores", "media_uses")
        if not any(
            self._journal.query(f"SELECT 1 FROM {table} WHERE at_ns < ? LIMIT 1", (oldest_ns,)) for table in tables
        ):
            return
        with self._journal.transaction() as db:
            for table in tables:
                db.execute(f"DELETE FROM {table} WHERE at_ns < ?", (oldest_ns,))
            db.execute("DELETE FROM media WHERE id NOT IN (SELECT media_id FROM media_uses)")

    def _remove_companions(self, where: str, values: Mapping[str, int]) -> int:
        """Remove spans that only other destinations get; return how many."""
        if not self._journal.query("SELECT 1 FROM sqlite_master WHERE name = 'companions'"):
            return 0
        with self._journal.transaction() as db:
            return db.execute(f"DELETE FROM companions WHERE {where}", values).rowcount

    # -- size

    def _shrink(self, deadline: float) -> bool:
        while not self._journal.remove_unused(max(deadline - time.monotonic(), 0.0)):
            if time.monotonic() > deadline:
                return False
        target = int(self._max_bytes * _TARGET)
        units: list[_Unit] = []
        while (excess := self._used() - target) > 0:
            if time.monotonic() > deadline:
                return False
            if len(units) <= 1:  # the last one may not be taken before those that were left out
                units = self._oldest_units()
            if self._remove_companions(f"id IN (SELECT id FROM companions ORDER BY id LIMIT {CHUNK})", {}):
                continue
            if units:
                self._warn("journal_max_bytes", f"{self._max_bytes} bytes")
                self._leaving = self._rows_of(_first(units, self._rows_in(excess)))
                if not self._remove_leaving(deadline) or not self._journal.remove_unused():
                    return False
            elif not self._evict_media() and not self._evict_scores():
                return True
        return True

    def _oldest_units(self) -> list[_Unit]:
        """Return the oldest sessions and traces, or those of the only session; the newest one comes last."""
        units = [_Unit(*row) for row in self._journal.query(_OLDEST_UNITS, {"limit": UNITS})]
        if len(units) == 1 and units[0].session_id is not None:
            units = [_Unit(*row) for row in self._journal.query(_OLDEST_TRACES, {"limit": UNITS})]
        return units

    def _rows_in(self, size_bytes: int) -> int:
        """Return about how many rows take so many bytes; CHUNK at most."""
        count = int(self._journal.query("SELECT count(*) FROM spans")[0][0])
        return min(-(-size_bytes * count // max(self._used(), 1)), CHUNK)

    def _evict_media(self) -> int:
        oldest = f"(SELECT id FROM media ORDER BY rowid LIMIT {CHUNK // 16})"
        with self._journal.transaction() as db:
            db.execute(f"DELETE FROM media_uses WHERE media_id IN {oldest}")
            return db.execute(f"DELETE FROM media WHERE id IN {oldest}").rowcount

    def _evict_scores(self) -> int:
        with self._journal.transaction() as db:
            return db.execute(
                f"DELETE FROM scores WHERE id IN (SELECT id FROM scores ORDER BY at_ns LIMIT {CHUNK})"
            ).rowcount

    # -- rows

    def _rows_of(self, units: Sequence[_Unit]) -> list[int]:
        sessions = json.dumps([unit.session_id for unit in units if unit.session_id is not None])
        traces = json.dumps([unit.trace_id for unit in units if unit.session_id is None])
        return [row[0] for row in self._journal.query(_OF_UNITS, {"sessions": sessions, "traces": traces})]

    def _remove_leaving(self, deadline: float) -> bool:
        """Remove the rows of units whose removal has begun; return False when the time is over."""
        while self._leaving:
            numbers = self._leaving[:CHUNK]
            ids = json.dumps(numbers)
            chosen = "id IN (SELECT value FROM json_each(?))"
            with self._journal.transaction() as db:
                pending = f"SELECT writer, count(*) FROM spans WHERE {chosen} AND state = 0 GROUP BY writer"
                for writer, count in db.execute(pending, (ids,)).fetchall():
                    db.execute("UPDATE writers SET evicted = evicted + ? WHERE id = ?", (count, writer))
                self._journal.remove(db, numbers)
            del self._leaving[:CHUNK]
            if time.monotonic() > deadline:
                return not self._leaving
        return True

    def _warn(self, setting: str, bound: str) -> None:
        path = self._journal.path
        if path is None:
            warn_once(
                f"retention {setting} in memory",
                "What waits in memory has reached its limit (%s): the oldest is removed, and counted as lost if "
                "Langfuse does not have it. Set LANGFUSE_INTEGRATION_JOURNAL to a file that can be written",
                bound,
            )
            return
        warn_once(
            f"retention {setting} {path}",
            "The journal %s has reached %s (%s): its oldest sessions and traces are removed; those that Langfuse does "
            "not have are counted as lost. Raise it, or deliver earlier with `langfuse-integration push`",
            path,
            VARIABLES[setting],
            bound,
        )

    def _used(self) -> int:
        return (self._number("page_count") - self._number("freelist_count")) * self._number("page_size")

    def _number(self, name: str) -> int:
        return int(self._journal.query(f"PRAGMA {name}")[0][0])


def _first(units: list[_Unit], row_count: int) -> list[_Unit]:
    """Take the oldest units off the list: one, or so many as have *row_count* rows together."""
    taken = [units.pop(0)]
    count = taken[0].row_count
    while len(units) > 1 and count + units[0].row_count <= row_count:
        taken.append(units.pop(0))
        count += taken[-1].row_count
    return taken

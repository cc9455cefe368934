"""What a journal may hold: bounded in bytes and in age, the oldest go first, and what went undelivered is counted."""

from __future__ import annotations

import time

from .journal import Journal

CHUNK = 256
"""Rows that go in one transaction, so that other processes can write in between."""
FREE_PAGES = 256
VACUUM_PAGES = 2_048
_LEAST = 0.95
"""How far below its cap a journal is brought, so that not every row evicts another."""


class Retention:
    """The bounds of one journal.

    Args:
        max_bytes: of the pages in use; what is free in the file counts for nothing.
        max_age_s: since an observation ended.
    """

    def __init__(self, journal: Journal, max_bytes: int, max_age_s: float) -> None:
        self._journal = journal
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        # What was recorded without keys is delivered by being written; but not into memory.
        self._counted = "writers.destination != ''" if journal.path is not None else "1"

    def apply(self, budget_s: float = 0.2) -> bool:
        """Take away what is too much or too old; False when *budget_s* was not enough."""
        deadline = time.monotonic() + budget_s
        oldest_ns = int((time.time() - self._max_age_s) * 1e9)
        while (
            self._evict(f"id IN (SELECT id FROM spans ORDER BY id LIMIT {CHUNK}) AND ended_ns < ?", oldest_ns) == CHUNK
        ):
            if time.monotonic() > deadline:
                return False
        self._expire_extras(oldest_ns)
        if self._used() <= self._max_bytes:
            return True
        while (excess := self._used() - int(self._max_bytes * _LEAST)) > 0:
            if not self._evict_oldest(excess) and not self._evict_media() and not self._evict_scores():
                return True
            if time.monotonic() > deadline:
                return False
        return True

    def give_back(self) -> None:
        """Return free room in the file to the system, a part of it each time."""
        if self._number("freelist_count") > FREE_PAGES:
            self._journal.give_back(VACUUM_PAGES)

    def _evict_oldest(self, excess_bytes: int) -> int:
        """Take away so many of the oldest rows, of CHUNK at most, as free about *excess_bytes*."""
        last = 0
        for number, size in self._journal.query(f"SELECT id, length(body) FROM spans ORDER BY id LIMIT {CHUNK}"):
            last = number
            excess_bytes -= size
            if excess_bytes <= 0:
                break
        return self._evict("id <= ?", last) if last else 0

    def _evict(self, chosen: str, value: int) -> int:
        with self._journal.transaction() as db:
            lost = f"SELECT writer, count(*) FROM spans WHERE {chosen} AND state = 0 GROUP BY writer"
            for writer, count in db.execute(lost, (value,)).fetchall():
                db.execute(
                    f"UPDATE writers SET evicted = evicted + ? WHERE id = ? AND {self._counted}", (count, writer)
                )
            return db.execute(f"DELETE FROM spans WHERE {chosen}", (value,)).rowcount

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

    def _expire_extras(self, oldest_ns: int) -> None:
        old = ("scores", "media_uses")
        if not any(
            self._journal.query(f"SELECT 1 FROM {table} WHERE at_ns < ? LIMIT 1", (oldest_ns,)) for table in old
        ):
            return
        with self._journal.transaction() as db:
            for table in old:
                db.execute(f"DELETE FROM {table} WHERE at_ns < ?", (oldest_ns,))
            db.execute("DELETE FROM media WHERE id NOT IN (SELECT media_id FROM media_uses)")

    def _used(self) -> int:
        return (self._number("page_count") - self._number("freelist_count")) * self._number("page_size")

    def _number(self, name: str) -> int:
        return int(self._journal.query(f"PRAGMA {name}")[0][0])

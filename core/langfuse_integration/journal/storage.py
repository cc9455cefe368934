"""Where rows lie until they are delivered: the journal's file; and while that fails, memory, for as long as it lasts.

The file is tried again, less and less often, and what had to stay in memory moves over once it works.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..encoding.media import Media
from ..encoding.row import Row
from ..errors import JournalTooNew
from ..internals import forks
from ..internals.faults import logger, warn_once
from ..recording.observation import Score
from ..settings import Settings
from .fork_guard import fork_guard
from .journal import Journal
from .recovery import is_damage, rescue, set_aside
from .retention import Retention
from .scores_and_media import Extras
from .writers import Writers, destination_of

MEMORY_BYTES = 16 * 1024 * 1024
"""What may wait in memory, while the journal's file cannot be used or is switched off."""
RETRY_S = (1.0, 30.0)
MOVED = 256
ENDED_LIMIT = 20_000
"""Span ids that are to be struck from the file's open ones once it works; those that are in it come first."""
CAPS_S = 1.0
_FAILURES = (sqlite3.Error, OSError, JournalTooNew)


class Written(NamedTuple):
    """One batch of a worker: rows that ended, rows that are open, span ids that are open no more, and the rest."""

    rows: Sequence[Row]
    opened: Sequence[Row] = ()
    ended: Sequence[str] = ()
    scores: Sequence[Score] = ()
    media: Sequence[Media] = ()


class Place:
    """A journal with everything around it, for one writer."""

    def __init__(self, settings: Settings, path: Path | None, me: int) -> None:
        with fork_guard.opening:
            self.journal = Journal(path)
            try:
                self.writers = Writers(self.journal, me, destination_of(settings))
            except BaseException:
                self.journal.close()
                raise
        self.extras = Extras(self.journal)
        most_bytes = settings.journal_max_bytes if path is not None else min(MEMORY_BYTES, settings.journal_max_bytes)
        self.caps = Retention(self.journal, most_bytes, settings.journal_max_age_s)
        self._evicted = 0

    @property
    def in_memory(self) -> bool:
        """Whether it is lost with the process."""
        return self.journal.path is None

    def newly_evicted(self) -> int:
        """Return how many of this writer's rows the caps took away since the last call."""
        before, self._evicted = self._evicted, self.writers.evicted()
        return max(self._evicted - before, 0)

    def close(self) -> None:
        """Leave the journal to others, and close it."""
        try:
            self.writers.leave()
        finally:
            self.journal.close()


class Storage:
    """The places of one writer.

    Args:
        me: this writer's number, random.
        moved: told of rows that came from memory into the file.
    """

    def __init__(self, settings: Settings, me: int, moved: Callable[[int], None]) -> None:
        self._settings = settings
        self._me = me
        self._moved = moved
        self._path = settings.journal_path
        self._disk: Place | None = None
        self._memory: Place | None = None
        self._failing = False
        self._retry_at = 0.0
        self._retry_s = RETRY_S[0]
        self._ended: list[str] = []
        self._doubted: Exception | None = None
        self._capped_at = 0.0
        self._evicted = {"journal full": 0, "memory full": 0}
        self.held = forks.Lock()
        """Held by whoever sends from a place, or moves rows to another: a row is sent from one place only."""

    # -- writing

    def store(self, written: Written) -> int:
        """Write a batch; return how many of its rows are in the file now.

        Raises:
            ValueError: a row is such that no file takes it; nothing of the batch is written then.
        """
        self._look_at_doubted()
        ended = [*self._ended, *written.ended]
        if self._write(lambda place: place.journal.append(self._me, written.rows, written.opened, ended)):
            self._ended.clear()
            stored = len(written.rows)
        else:
            self._ended = ended[:ENDED_LIMIT]
            self._in_memory().journal.append(self._me, written.rows, written.opened, written.ended)
            stored = 0
        if (written.scores or written.media) and not self._write(
            lambda place: place.extras.add(self._me, written.scores, written.media)
        ):
            self._in_memory().extras.add(self._me, written.scores, written.media)
        if self._memory is not None and not self._failing:
            self._settle()
        return stored

    def end_dead(self) -> None:
        """End what processes that have died left open; whoever sends takes over the rest of theirs."""
        for place in self.places():
            try:
                place.writers.adopt()
            except _FAILURES as error:
                self._fails(error)

    def end_open(self) -> None:
        """End what this writer left open: its process ends."""
        for place in self.places():
            try:
                place.writers.end_open()
            except _FAILURES as error:
                self._fails(error)

    def tidy(self, idle: bool = False) -> None:
        """Keep to the caps, and bring back what is in memory; called now and then."""
        self._look_at_doubted()
        if self._memory is not None and self._place() is not None:
            self._settle()
        now = time.monotonic()
        if not idle and self._memory is None and now - self._capped_at < CAPS_S:
            return
        self._capped_at = now
        for place in self.places():
            try:
                done = place.caps.apply()
                if idle and done:
                    place.caps.give_back()
                self._evicted["memory full" if place.in_memory else "journal full"] += place.newly_evicted()
            except _FAILURES as error:
                if place is self._disk:
                    self._fails(error)

    # -- reading

    def places(self) -> list[Place]:
        """Return the places where something may lie."""
        return [place for place in (self._disk, self._memory) if place is not None]

    def evicted(self) -> dict[str, int]:
        """Return how many of this writer's rows the caps took away, by reason."""
        return {reason: count for reason, count in self._evicted.items() if count}

    def in_memory(self) -> int:
        """Return how many rows wait in memory."""
        return self._memory.journal.pending() if self._memory is not None else 0

    @property
    def restless_s(self) -> float | None:
        """In how many seconds the file is to be tried again; None when there is no need."""
        if self._memory is None or self._path is None:
            return None
        return max(self._retry_at - time.monotonic(), 0.05)

    def close(self) -> None:
        """Leave everything to others."""
        self._retry_at = 0.0
        if self._memory is not None and self._place() is not None:
            self._settle()
        left = self.in_memory()
        if left:
            logger().warning("%d observations were in memory only, and go with it", left)
        for place in self.places():
            try:
                place.close()
            except _FAILURES as error:
                self._fails(error)
        self._disk = self._memory = None

    # -- the file

    def doubt(self, error: Exception) -> bool:
        """Note, on the sender's thread, that the file is damaged, if it is; the worker's next turn sees to it."""
        if not is_damage(error):
            return False
        self._doubted = error
        return True

    def _look_at_doubted(self) -> None:
        doubted, self._doubted = self._doubted, None
        if doubted is not None and self._disk is not None:
            self._fails(doubted)

    def _write(self, write: Callable[[Place], None]) -> bool:
        place = self._place()
        if place is None:
            return False
        try:
            write(place)
        except _FAILURES as error:
            if isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)):
                raise ValueError(str(error)) from error
            self._fails(error)
            return False
        place.writers.beat()
        if self._failing:
            self._failing = False
            self._retry_s = RETRY_S[0]
            logger().info("The journal %s can be written again", self._path)
        return True

    def _place(self) -> Place | None:
        """Return the file, if it is to be used or tried now."""
        if self._path is None or (self._failing and time.monotonic() < self._retry_at):
            return None
        if self._disk is not None and self._disk.journal.replaced():
            self._leave_replaced()
        if self._disk is None:
            inode = self._inode()
            try:
                self._disk = Place(self._settings, self._path, self._me)
            except _FAILURES as error:
                if inode and is_damage(error) and self._rescued(inode, error):
                    return self._disk
                self._fails(error)
        return self._disk

    def _fails(self, error: Exception) -> None:
        """Note that the file cannot be used now."""
        place = self._disk
        if place is not None and is_damage(error) and self._rescued(place.journal.inode, error):
            return
        self._failing = True
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S[1])
        warn_once(
            "journal",
            "The journal %s cannot be used (%s): observations are kept in memory only, until it can",
            self._path,
            error,
        )

    def _rescued(self, inode: int, error: Exception) -> bool:
        """Set a damaged file aside and begin another one with what could be read; False when that fails too."""
        assert self._path is not None
        with self.held:
            try:
                aside = set_aside(self._path, inode)
                if self._disk is not None:
                    self._disk.journal.close()
                    self._disk = None
                self._disk = Place(self._settings, self._path, self._me)
                if aside is not None:
                    count = rescue(aside, self._disk.journal)
                    logger().warning(
                        "The journal %s is damaged (%s): it is kept as %s, and %d observations could be read from it",
                        self._path, error, aside.name, count,
                    )  # fmt: skip
            except _FAILURES:
                return False
        return True

    def _leave_replaced(self) -> None:
        """Go on with the file that is there now; what waits in the one that was there goes over."""
        old = self._disk
        if old is None or not self.held.acquire(timeout=0.05):
            return
        try:
            self._disk = Place(self._settings, self._path, self._me)
            self._move(old, self._disk)
        except _FAILURES as error:
            self._disk = None
            self._fails(error)
        finally:
            old.journal.abandon()
            self.held.release()

    def _inode(self) -> int:
        try:
            return self._path.stat().st_ino if self._path is not None else 0
        except OSError:
            return 0

    # -- memory

    def _in_memory(self) -> Place:
        if self._memory is None:
            self._memory = Place(self._settings, None, self._me)
        return self._memory

    def _settle(self) -> None:
        """Move what lies in memory into the file, unless it is being sent just now."""
        memory, disk = self._memory, self._disk
        if memory is None or disk is None or not self.held.acquire(blocking=False):
            return
        try:
            self._moved(self._move(memory, disk))
            self._memory = None
            memory.journal.close()
        except _FAILURES as error:
            self._fails(error)
        finally:
            self.held.release()

    def _move(self, source: Place, target: Place) -> int:
        """Move everything from one journal to another; return how many rows waited."""
        count = _move_rows(source.journal, target.journal)
        for table in ("open_spans", "scores", "media", "media_uses"):
            rows = source.journal.query(f"SELECT * FROM {table}")
            if rows:
                if table == "media_uses":  # numbers of its own
                    rows = [(None, *row[1:]) for row in rows]
                marks = ",".join("?" * len(rows[0]))
                with target.journal.transaction() as db:
                    db.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
                source.journal.query(f"DELETE FROM {table}")
        return count


def _move_rows(source: Journal, target: Journal) -> int:
    names = ", ".join((*Row._fields, "writer", "state", "reason"))
    marks = ",".join("?" * (len(Row._fields) + 3))
    there = "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?"
    count = 0
    while True:
        found: list[tuple[Any, ...]] = source.query(f"SELECT id, {names} FROM spans ORDER BY id LIMIT {MOVED}")
        if not found:
            return count
        with target.transaction() as db:
            rows = [row[1:] for row in found if not db.execute(there, (row[2], row[1])).fetchone()]
            db.executemany(f"INSERT INTO spans ({names}) VALUES ({marks})", rows)
        source.query("DELETE FROM spans WHERE id <= ?", (found[-1][0],))
        count += sum(row[-2] == 0 for row in found)

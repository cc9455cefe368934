"""The writers of a journal: each delivers its own rows; when it has died, another writer adopts them.

Adoption also ends the observations that the dead process left open: they become rows with level ERROR.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..encoding.row import Row
from ..settings import Settings
from .contention import PAUSE_S
from .journal import Journal
from .liveness import Liveness

NOWHERE = ""
"""The destination of rows recorded without keys: only `push` delivers them."""
NOBODY = 0
"""The owner of a dead writer, until a writer with its destination adopts it."""
WRITERS_PER_TRANSACTION = 4
"""Dead writers that are adopted in one transaction: all other processes wait for it."""


def destination_of(settings: Settings) -> str:
    """Return a fingerprint of the Langfuse project that the settings name; it reveals no key.

    Processes with other keys may share the journal's file: rows for one project are never sent to another.
    """
    if settings.mode != "langfuse":
        return NOWHERE
    return hashlib.sha256(f"{settings.base_url} {settings.public_key}".encode()).hexdigest()[:16]


class _Orphan(NamedTuple):
    """A writer whose owner is dead or nobody."""

    writer: int
    owner: int
    destination: str
    is_alive: bool


class Writers:
    """The writers of one journal, as seen by one of them.

    Args:
        me: this writer's random number.
        destination: the fingerprint of the Langfuse project that its rows are for.
    """

    def __init__(self, journal: Journal, me: int, destination: str) -> None:
        self._journal = journal
        self._liveness = Liveness(journal.path)
        self.me = me
        self._destination = destination
        self.enter()

    def enter(self) -> None:
        """Add this writer to the journal, and lock its liveness file."""
        self._liveness.lock(self.me)
        row = (self.me, self.me, self._destination, os.getpid(), time.time_ns())
        statement = "INSERT OR IGNORE INTO writers (id, owner, destination, pid, since_ns) VALUES (?,?,?,?,?)"
        with self._journal.transaction() as db:
            db.execute(statement, row)

    def adopt(self, *destinations: str) -> int:
        """Adopt writers that have died; return how many were adopted.

        Args:
            destinations: writers with one of these are adopted; open observations are ended for every destination.
        """
        orphans = self._orphans(destinations)
        dead = {orphan.writer: self._last_signs(orphan.writer) for orphan in orphans if not orphan.is_alive}
        if dead:
            self._prepare_to_end(list(dead))
        count = 0
        for start in range(0, len(orphans), WRITERS_PER_TRANSACTION):
            if start:
                time.sleep(PAUSE_S)  # this process's own rows, too, come in between
            count += self._adopt(orphans[start : start + WRITERS_PER_TRANSACTION], dead, destinations)
        return count

    def _adopt(
        self, orphans: Sequence[_Orphan], dead: Mapping[int, tuple[int, set[str]]], destinations: Container[str]
    ) -> int:
        """Adopt some writers in one transaction, unless another process was first; return how many were adopted."""
        ended: list[int] = []
        adopted: set[int] = set()
        with self._journal.transaction() as db:
            for writer, owner, destination, is_alive in orphans:
                # Another sender of this process, for another destination, may have ended it meanwhile for nobody.
                orphaned = f"SELECT 1 FROM writers WHERE id = ? AND owner IN (?, {NOBODY})"
                if not db.execute(orphaned, (writer, owner)).fetchone():
                    continue
                if is_alive:  # only a `push` that had adopted it has died
                    db.execute("UPDATE writers SET owner = id WHERE id = ?", (writer,))
                    continue
                _end(db, writer, *dead[writer])
                ended.append(writer)
                if destination in destinations:
                    adopted.add(writer)
                new_owner = self.me if writer in adopted else NOBODY
                db.execute("UPDATE writers SET owner = ? WHERE id = ?", (new_owner, writer))
            adopted.difference_update(_remove_idle(db, ended))
        self._liveness.remove(ended)
        return len(adopted)

    def take_over(self, destination: str) -> int:
        """Deliver for living writers that recorded for *destination* and do not deliver; return how many."""
        statement = "UPDATE writers SET owner = ? WHERE destination = ? AND owner = id AND id != ?"
        with self._journal.transaction() as db:
            return db.execute(statement, (self.me, destination, self.me)).rowcount

    def mine(self) -> list[int]:
        """Return the numbers of the writers that this one delivers for, its own first."""
        rows = self._journal.query("SELECT id FROM writers WHERE owner = ? ORDER BY id != owner, since_ns", (self.me,))
        return [row[0] for row in rows]

    def of(self, destination: str) -> list[int]:
        """Return the numbers of the writers that recorded for *destination*."""
        return [row[0] for row in self._journal.query("SELECT id FROM writers WHERE destination = ?", (destination,))]

    def for_other_projects(self) -> int:
        """Return how many rows of dead writers wait for another Langfuse project, or for previous keys."""
        statement = (
            "SELECT count(*) FROM writers JOIN spans ON spans.writer = writers.id AND spans.state = 0 "
            "WHERE writers.owner = ? AND writers.destination NOT IN (?, ?)"
        )
        return int(self._journal.query(statement, (NOBODY, self._destination, NOWHERE))[0][0])

    def evicted(self) -> int:
        """Return how many of this writer's rows retention removed before they were delivered, in any process."""
        rows = self._journal.query("SELECT evicted FROM writers WHERE id = ?", (self.me,))
        return int(rows[0][0]) if rows else 0

    def end_open(self) -> int:
        """End this writer's open observations, at the end of its process; return how many there were."""
        self._prepare_to_end([self.me])
        with self._journal.transaction() as db:
            return _end(db, self.me, time.time_ns())

    def list_ended(self, span_ids: Iterable[str]) -> None:
        """List delivered spans of this writer that are open in the journal, so that nobody ends them again."""
        self._liveness.list_ended(self.me, span_ids)

    def touch(self) -> None:
        """Record that this writer is alive now: if it dies, its open observations end no earlier than this."""
        self._liveness.touch(self.me)

    def leave(self) -> None:
        """Leave the journal: another writer may adopt the remaining rows."""
        with self._journal.transaction() as db:
            db.execute(
                "DELETE FROM open_spans WHERE writer = ?", (self.me,)
            )  # the process is alive and may still end them
            removed = _remove_idle(
                db, [row[0] for row in db.execute("SELECT id FROM writers WHERE owner = ?", (self.me,))]
            )
            db.execute("UPDATE writers SET owner = id WHERE owner = ?", (self.me,))
        self._liveness.unlock(self.me)
        self._liveness.remove(removed)

    def _prepare_to_end(self, writers: Sequence[int]) -> None:
        """Load what ends observations, if one of *writers* left any: in a transaction all processes would wait."""
        statement = "SELECT 1 FROM open_spans WHERE writer IN (SELECT value FROM json_each(?)) LIMIT 1"
        if self._journal.query(statement, (json.dumps(writers),)):
            from . import endings as endings

    def _orphans(self, destinations: tuple[str, ...]) -> list[_Orphan]:
        """Return the writers whose owner is dead, and unowned ones with one of these destinations."""
        marks = ",".join("?" * len(destinations))
        statement = (
            f"SELECT id, owner, destination FROM writers WHERE owner NOT IN (?, {NOBODY}) "
            f"OR (owner = {NOBODY} AND destination IN ({marks}))"
        )
        return [
            _Orphan(writer, owner, destination, self._liveness.is_alive(writer))
            for writer, owner, destination in self._journal.query(statement, (self.me, *destinations))
            if owner == NOBODY or not self._liveness.is_alive(owner)
        ]

    def _last_signs(self, writer: int) -> tuple[int, set[str]]:
        """Return when a dead writer was last alive, and the spans that it listed as ended."""
        return self._liveness.last_alive_ns(writer), self._liveness.ended(writer)


def _end(db: sqlite3.Connection, writer: int, alive_ns: int, ended_ids: Container[str] = ()) -> int:
    """Turn the open observations of *writer* into rows that end at *alive_ns* or with the last row of their trace.

    Args:
        ended_ids: spans that have ended and were delivered; they leave no row.
    """
    open_spans = db.execute("SELECT span_id, body FROM open_spans WHERE writer = ?", (writer,)).fetchall()
    bodies = [body for span_id, body in open_spans if span_id not in ended_ids]
    if not bodies:
        db.execute("DELETE FROM open_spans WHERE writer = ?", (writer,))
        return 0
    from .endings import ended  # protobuf: the first rows of a process would wait for it

    names = ", ".join(Row._fields)
    marks = ",".join("?" * (len(Row._fields) + 1))
    for body in bodies:
        row = ended(body, alive_ns)
        if db.execute("SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?", (row.trace_id, row.span_id)).fetchone():
            continue  # its end was moved from memory into the file just before the process died
        last = db.execute("SELECT max(ended_ns) FROM spans WHERE trace_id = ?", (row.trace_id,)).fetchone()[0]
        if last is not None and last > row.ended_ns:
            row = ended(body, last)
        db.execute(f"INSERT INTO spans ({names}, writer) VALUES ({marks})", (*row, writer))
    db.execute("DELETE FROM open_spans WHERE writer = ?", (writer,))
    return len(bodies)


def _remove_idle(db: sqlite3.Connection, writers: list[int]) -> list[int]:
    """Remove those of *writers* that have nothing waiting or open; return them."""
    removed: list[int] = []
    for writer in writers:
        remaining = "SELECT 1 FROM open_spans WHERE writer = ?"
        for table in ("spans", "scores", "media_uses"):
            remaining += f" UNION ALL SELECT 1 FROM {table} WHERE writer = ? AND state = 0"
        if db.execute(f"{remaining} LIMIT 1", (writer,) * 4).fetchone() is None:
            db.execute("DELETE FROM writers WHERE id = ?", (writer,))
            removed.append(writer)
    return removed

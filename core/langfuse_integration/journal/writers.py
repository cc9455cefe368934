"""Who wrote into a journal, and who delivers it: a writer itself, or when it has died the one that took over.

Taking over also ends what the dead process left open: agent runs and roots, which become rows that say how they ended.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from ..encoding.row import Row, row_of
from ..settings import Settings
from .journal import Journal
from .liveness import Liveness

PROCESS_ENDED = "the process ended"
NOWHERE = ""
"""The destination of what was recorded without keys: only `push` delivers it."""
NOBODY = 0
"""The owner of what a dead writer left, until somebody with its destination comes."""


def destination_of(settings: Settings) -> str:
    """Return a fingerprint of the Langfuse project that the settings name; no key can be told from it.

    Processes with other keys may share the journal's file: what is meant for one project never goes to another.
    """
    if settings.mode != "langfuse":
        return NOWHERE
    return hashlib.sha256(f"{settings.base_url} {settings.public_key}".encode()).hexdigest()[:16]


class Writers:
    """The writers of one journal, as seen by one of them.

    Args:
        me: this writer's number, random.
        destination: whom its rows are for.
    """

    def __init__(self, journal: Journal, me: int, destination: str) -> None:
        self._journal = journal
        self._pulses = Liveness(journal.path)
        self.me = me
        self._destination = destination
        self.enter()

    def enter(self) -> None:
        """Put this writer into the journal's list, as living."""
        self._pulses.begin(self.me)
        row = (self.me, self.me, self._destination, os.getpid(), time.time_ns())
        statement = "INSERT OR IGNORE INTO writers (id, owner, destination, pid, since_ns) VALUES (?,?,?,?,?)"
        with self._journal.transaction() as db:
            db.execute(statement, row)

    def adopt(self, *destinations: str) -> int:
        """Take over from writers that have died, and return from how many.

        Args:
            destinations: whose rows are wanted, if any; what was left open is ended whatever the destination.
        """
        if not self._orphans(destinations):
            return 0
        adopted: set[int] = set()
        with self._journal.transaction() as db:
            found = self._orphans(destinations, db)
            dead = [writer for writer, _ in found if not self._pulses.beats(writer)]
            for writer, destination in found:
                if writer not in dead:  # only a `push` that had taken over has died
                    db.execute("UPDATE writers SET owner = id WHERE id = ?", (writer,))
                    continue
                _end(db, writer, self._pulses.last_ns(writer))
                if destination in destinations:
                    adopted.add(writer)
                owner = self.me if writer in adopted else NOBODY
                db.execute("UPDATE writers SET owner = ? WHERE id = ?", (owner, writer))
            adopted.difference_update(_forget_idle(db, dead))
        self._pulses.forget(dead)
        return len(adopted)

    def take(self, destination: str) -> int:
        """Take over what living writers recorded for *destination* and nobody delivers; return from how many."""
        statement = "UPDATE writers SET owner = ? WHERE destination = ? AND owner = id AND id != ?"
        with self._journal.transaction() as db:
            return db.execute(statement, (self.me, destination, self.me)).rowcount

    def mine(self) -> list[int]:
        """Return the writers that this one delivers for, itself first."""
        found = self._journal.query("SELECT id FROM writers WHERE owner = ? ORDER BY id != owner, since_ns", (self.me,))
        return [row[0] for row in found]

    def strangers(self) -> int:
        """Return how many rows of dead writers wait for another Langfuse project, or for older keys."""
        statement = (
            "SELECT count(*) FROM writers JOIN spans ON spans.writer = writers.id AND spans.state = 0 "
            "WHERE writers.owner = ? AND writers.destination NOT IN (?, ?)"
        )
        return int(self._journal.query(statement, (NOBODY, self._destination, NOWHERE))[0][0])

    def evicted(self) -> int:
        """Return how many of this writer's rows the caps took away, whoever applied them."""
        found = self._journal.query("SELECT evicted FROM writers WHERE id = ?", (self.me,))
        return int(found[0][0]) if found else 0

    def end_open(self) -> int:
        """End what this writer left open, at the end of its process; return how many that were."""
        with self._journal.transaction() as db:
            return _end(db, self.me, time.time_ns())

    def beat(self) -> None:
        """Note that this writer lives now: should it die, what it had open lasted until here at least."""
        self._pulses.beat(self.me)

    def leave(self) -> None:
        """Give back what is left to whoever comes next, and be dead."""
        with self._journal.transaction() as db:
            db.execute("DELETE FROM open_spans WHERE writer = ?", (self.me,))  # the process lives, and may end them yet
            gone = _forget_idle(
                db, [row[0] for row in db.execute("SELECT id FROM writers WHERE owner = ?", (self.me,))]
            )
            db.execute("UPDATE writers SET owner = id WHERE owner = ?", (self.me,))
        self._pulses.end(self.me)
        self._pulses.forget(gone)

    def _orphans(self, destinations: tuple[str, ...], db: sqlite3.Connection | None = None) -> list[tuple[int, str]]:
        """Return writers that nobody delivers for, with their destinations: those of interest, and those just dead."""
        marks = ",".join("?" * len(destinations))
        statement = (
            f"SELECT id, owner, destination FROM writers WHERE owner NOT IN (?, {NOBODY}) "
            f"OR (owner = {NOBODY} AND destination IN ({marks}))"
        )
        values = (self.me, *destinations)
        found = self._journal.query(statement, values) if db is None else db.execute(statement, values).fetchall()
        return [(writer, where) for writer, owner, where in found if owner == NOBODY or not self._pulses.beats(owner)]


def _end(db: sqlite3.Connection, writer: int, alive_ns: int) -> int:
    """Turn what *writer* left open into rows; they last until it was alive last, or something in their trace ended."""
    left = db.execute("SELECT body FROM open_spans WHERE writer = ?", (writer,)).fetchall()
    names = ", ".join(Row._fields)
    marks = ",".join("?" * (len(Row._fields) + 1))
    for (body,) in left:
        row = ended(body, alive_ns)
        last = db.execute("SELECT max(ended_ns) FROM spans WHERE trace_id = ?", (row.trace_id,)).fetchone()[0]
        if last is not None and last > row.ended_ns:
            row = ended(body, last)
        db.execute(f"INSERT INTO spans ({names}, writer) VALUES ({marks})", (*row, writer))
    db.execute("DELETE FROM open_spans WHERE writer = ?", (writer,))
    return len(left)


def ended(body: bytes, ended_ns: int) -> Row:
    """Return the row of an observation whose process ended before it did: an ERROR, with what it had."""
    request = ExportTraceServiceRequest.FromString(body)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    level, message = "langfuse.observation.level", "langfuse.observation.status_message"
    kept = [entry for entry in span.attributes if entry.key not in (level, message)]
    del span.attributes[:]
    span.attributes.extend(kept)
    for key, text in ((level, "ERROR"), (message, PROCESS_ENDED)):
        span.attributes.add(key=key).value.string_value = text
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = PROCESS_ENDED
    span.end_time_unix_nano = max(ended_ns, span.start_time_unix_nano)
    return row_of(request)


def _forget_idle(db: sqlite3.Connection, writers: list[int]) -> list[int]:
    """Strike out those of *writers* of which nothing waits or is open; return them."""
    gone: list[int] = []
    for writer in writers:
        left = "SELECT 1 FROM spans WHERE writer = ?1 AND state = 0"
        for table in ("scores", "media_uses"):
            left += f" UNION ALL SELECT 1 FROM {table} WHERE writer = ?1 AND state = 0"
        left += " UNION ALL SELECT 1 FROM open_spans WHERE writer = ?1 LIMIT 1"
        if db.execute(left, (writer,)).fetchone() is None:
            db.execute("DELETE FROM writers WHERE id = ?", (writer,))
            gone.append(writer)
    return gone

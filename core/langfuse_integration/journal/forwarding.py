"""Forwarding: which rows still wait for which destination beside Langfuse.

The tables and their triggers are in forward_tables.py.

A subscription has an owner that delivers, as a writer has one: its writer, and after its death whoever adopts it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..destinations import OtlpDestination
from ..encoding.row import Row
from .deflating import ORIGIN
from .forward_tables import create, register
from .journal import Journal
from .liveness import Liveness
from .rows import fitting

_WAITING = """
    WHERE forwards.destination = :destination AND forwards.writer = :writer AND forwards.state = 0
    AND forwards.row {beyond} :after ORDER BY abs(forwards.row) LIMIT :limit
"""


class _Statements(NamedTuple):
    """Statements that read waiting rows: sizes, keys and bodies, each with the same conditions."""

    sizes: str
    keys: str
    bodies: str

    @classmethod
    def of(cls, table: str, number: str, size: str, pieces: str, beyond: str) -> _Statements:
        """Return the statements for a table.

        Args:
            pieces: expressions for the pieces and the ORIGIN of a row.
        """
        rows = f"FROM forwards JOIN {table} ON {number} = forwards.row {_WAITING.format(beyond=beyond)}"
        return cls(
            f"SELECT {size} {rows}",
            f"SELECT {number}, {table}.trace_id, {table}.span_id {rows}",
            f"SELECT {number}, {pieces}, {table}.body {rows}",
        )


_SPANS = _Statements.of(
    "spans",
    "spans.id",
    "coalesce(spans.size_bytes, length(spans.body))",
    f"spans.pieces, {ORIGIN}",
    "> 0 AND forwards.row >",
)
_COMPANIONS = _Statements.of(
    "companions", "-companions.id", "length(companions.body)", "NULL, NULL", "< 0 AND -forwards.row >"
)
_DONE = """
    NOT EXISTS (SELECT 1 FROM forwards WHERE forwards.writer = subscriptions.writer
                AND forwards.destination = subscriptions.destination AND state = 0)
    AND NOT EXISTS (SELECT 1 FROM open_spans WHERE open_spans.writer = subscriptions.writer)
"""
"""Nothing of the writer waits for the destination, and nothing that is open will."""


_REMOVE_SETTLED = """
    DELETE FROM companions WHERE -id IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (SELECT 1 FROM forwards WHERE row = -companions.id AND state = 0)
"""


class ForwardBatch(NamedTuple):
    """Waiting rows of one writer for one destination, the oldest first.

    Attributes:
        ids: their numbers in the journal.
        keys: their trace and span ids, which stay when a row moves to another journal.
        bodies: one OTLP request each.
    """

    writer: int
    ids: list[int]
    keys: list[tuple[str, str]]
    bodies: list[bytes]

    def halves(self) -> tuple[ForwardBatch, ForwardBatch]:
        """Return the two halves, of one row at least each."""
        middle = len(self.ids) // 2
        return (
            ForwardBatch(self.writer, self.ids[:middle], self.keys[:middle], self.bodies[:middle]),
            ForwardBatch(self.writer, self.ids[middle:], self.keys[middle:], self.bodies[middle:]),
        )


class Forwarding:
    """The rows of one journal for other destinations, as seen by one of its writers.

    Args:
        me: this writer's random number.
        destinations: those that this writer's rows are for; there is at least one.
    """

    def __init__(self, journal: Journal, me: int, destinations: Iterable[OtlpDestination]) -> None:
        self._journal = journal
        self._liveness = Liveness(journal.path)
        self._me = me
        self._numbers: dict[str, int] = {}
        self._skipped: dict[tuple[int, int, bool], int] = {}
        with journal.transaction() as db:
            create(db)
            for destination in destinations:
                number = register(db, destination)
                self._numbers[destination.fingerprint] = number
                statement = "INSERT OR IGNORE INTO subscriptions (writer, destination, owner) VALUES (?,?,?)"
                db.execute(statement, (me, number, me))

    # -- sending

    def next_batch(
        self, destination: OtlpDestination, writer: int, max_rows: int, max_bytes: int
    ) -> ForwardBatch | None:
        """Return the oldest rows of *writer* that wait for *destination*, or None.

        Args:
            max_bytes: of all rows together; a single one may be larger.

        Raises:
            BrokenChain: the file is damaged.
        """
        for statements in (_SPANS, _COMPANIONS):
            batch = self._next(statements, destination, writer, (max_rows, max_bytes))
            if batch is not None:
                return batch
        return None

    def _next(
        self, statements: _Statements, destination: OtlpDestination, writer: int, limits: tuple[int, int]
    ) -> ForwardBatch | None:
        number = self._numbers[destination.fingerprint]
        after = self._skipped.get((number, writer, statements is _SPANS), 0)
        values = {"destination": number, "writer": writer, "after": after, "limit": limits[0]}
        sizes = [str(row[0]) for row in self._journal.query(statements.sizes, values)]
        if not sizes:
            return None
        values["limit"] = fitting(sizes, limits[1])
        keys = {row[0]: (row[1], row[2]) for row in self._journal.query(statements.keys, values)}
        rows = [row for row in self._journal.bodies(statements.bodies, values) if row[0] in keys]
        if not rows:  # removed meanwhile
            return None
        ids = [row[0] for row in rows]
        return ForwardBatch(writer, ids, [keys[number] for number in ids], [row[1] for row in rows])

    def skip(self, destination: OtlpDestination, writer: int, number: int) -> None:
        """Do not return rows of *writer* up to this number again, as long as this journal is open."""
        self._skipped[self._numbers[destination.fingerprint], writer, number > 0] = abs(number)

    def ids_of(self, keys: Iterable[tuple[str, str]]) -> list[int]:
        """Return the numbers that rows with these trace and span ids have here."""
        statement = (
            "SELECT id FROM spans WHERE trace_id = ? AND span_id = ? "
            "UNION ALL SELECT -id FROM companions WHERE trace_id = ? AND span_id = ?"
        )
        return [row[0] for key in keys for row in self._journal.query(statement, key * 2)]

    def acknowledge(self, destination: OtlpDestination, ids: Sequence[int], keep: bool) -> int:
        """Mark rows as forwarded; those that Langfuse has and nobody waits for are removed, unless *keep*.

        Returns:
            How many of the rows waited here; the others were moved to another journal, or removed.
        """
        with self._journal.transaction() as db:
            count = self._settle(db, destination, ids, 1, None)
            if not keep:
                db.execute(
                    "DELETE FROM spans WHERE id IN (SELECT value FROM json_each(?)) AND state = 1 "
                    "AND NOT EXISTS (SELECT 1 FROM forwards WHERE row = spans.id AND state != 1)",
                    (json.dumps(ids),),
                )
        return count

    def set_aside(self, destination: OtlpDestination, ids: Sequence[int], reason: str) -> int:
        """Keep rows that *destination* refuses, with the reason; they are not sent there again."""
        with self._journal.transaction() as db:
            return self._settle(db, destination, ids, 2, reason)

    def _settle(
        self, db: sqlite3.Connection, destination: OtlpDestination, ids: Sequence[int], state: int, reason: str | None
    ) -> int:
        """Give rows that wait for *destination* their last state there; return how many waited here."""
        count = db.execute(
            "UPDATE forwards SET state = ?, reason = ? WHERE destination = ? AND state = 0 "
            "AND row IN (SELECT value FROM json_each(?))",
            (state, reason, self._numbers[destination.fingerprint], json.dumps(ids)),
        ).rowcount
        db.execute(_REMOVE_SETTLED, (json.dumps(ids),))
        return count

    def hand_over(self, *, keep: bool) -> None:
        """Mark this writer's rows as ones that Langfuse has; those that no destination waits for are removed."""
        with self._journal.transaction() as db:
            db.execute("UPDATE spans SET state = 1 WHERE writer = ? AND state = 0", (self._me,))
            if not keep:
                db.execute(
                    "DELETE FROM spans WHERE writer = ? AND state = 1 "
                    "AND NOT EXISTS (SELECT 1 FROM forwards WHERE row = spans.id AND state != 1)",
                    (self._me,),
                )

    # -- companions

    def accompany(self, writer: int, rows: Sequence[Row]) -> None:
        """Write spans that only the destinations get."""
        statement = "INSERT INTO companions (writer, trace_id, span_id, ended_ns, body) VALUES (?,?,?,?,?)"
        with self._journal.transaction() as db:
            db.executemany(statement, [(writer, row.trace_id, row.span_id, row.ended_ns, row.body) for row in rows])

    # -- who delivers

    def mine(self, destination: OtlpDestination) -> list[int]:
        """Return the writers whose rows this one delivers to *destination*, its own first."""
        rows = self._journal.query(
            "SELECT writer FROM subscriptions WHERE owner = ? AND destination = ? ORDER BY writer != owner",
            (self._me, self._numbers[destination.fingerprint]),
        )
        return [row[0] for row in rows]

    def adopt(self, destination: OtlpDestination) -> int:
        """Adopt the subscriptions of *destination* whose owner has died; return how many."""
        number = self._numbers[destination.fingerprint]
        if not self._orphans(self._journal.query(*_others(number, self._me))):
            return 0
        with self._journal.transaction() as db:
            orphans = self._orphans(db.execute(*_others(number, self._me)).fetchall())
            for writer in orphans:
                # A writer that is alive delivers again itself: only whoever had adopted its rows has died.
                owner = writer if self._liveness.is_alive(writer) else self._me
                values = (owner, writer, number)
                db.execute("UPDATE subscriptions SET owner = ? WHERE writer = ? AND destination = ?", values)
            db.execute(f"DELETE FROM subscriptions WHERE owner = ? AND writer != owner AND {_DONE}", (self._me,))
        return len(orphans)

    def claim(self, destination: OtlpDestination, session_id: str | None = None) -> int:
        """Take over all rows of the journal, or of a session, that *destination* lacks; return how many.

        Rows that a living process delivers are left to it. Those that wait for the same address with other headers
        count for this destination from now on.
        """
        number = self._numbers[destination.fingerprint]
        values = {"me": self._me, "destination": number, "address": destination.address, "session": session_id}
        rows = "row IN (SELECT id FROM spans WHERE :session IS NULL OR session_id = :session)"
        same = "destination IN (SELECT id FROM destinations WHERE address = :address)"
        with self._journal.transaction() as db:
            owners = db.execute(f"SELECT DISTINCT owner FROM subscriptions WHERE {same}", values).fetchall()
            alive = [owner for (owner,) in owners if owner != self._me and self._liveness.is_alive(owner)]
            values["alive"] = json.dumps(alive)
            living = "SELECT writer FROM subscriptions WHERE owner IN (SELECT value FROM json_each(:alive))"
            db.execute(
                f"DELETE FROM forwards WHERE state = 0 AND {same} AND {rows} AND writer NOT IN ({living})", values
            )
            return db.execute(
                "INSERT INTO forwards (row, destination, writer) SELECT id, :destination, :me FROM spans "
                "WHERE (:session IS NULL OR session_id = :session) "
                f"AND id NOT IN (SELECT row FROM forwards WHERE {same})",
                values,
            ).rowcount

    def leave(self) -> None:
        """Leave what waits to other writers."""
        with self._journal.transaction() as db:
            db.execute(f"DELETE FROM subscriptions WHERE owner = ? AND {_DONE}", (self._me,))
            db.execute("UPDATE subscriptions SET owner = writer WHERE owner = ?", (self._me,))

    def _orphans(self, rows: Iterable[tuple[int, int]]) -> list[int]:
        return [writer for writer, owner in rows if not self._liveness.is_alive(owner)]

    # -- counts

    def waiting(self, destination: OtlpDestination) -> int:
        """Return how many of this writer's rows wait for *destination*."""
        values = (self._numbers[destination.fingerprint], self._me)
        statement = "SELECT count(*) FROM forwards WHERE destination = ? AND writer = ? AND state = 0"
        return int(self._journal.query(statement, values)[0][0])

    def evicted(self, destination: OtlpDestination) -> int:
        """Return how many of this writer's rows were removed while they waited for *destination*."""
        values = (self._numbers[destination.fingerprint], self._me)
        rows = self._journal.query("SELECT evicted FROM subscriptions WHERE destination = ? AND writer = ?", values)
        return int(rows[0][0]) if rows else 0


def _others(destination: int, me: int) -> tuple[str, tuple[int, int]]:
    return "SELECT writer, owner FROM subscriptions WHERE destination = ? AND owner != ?", (destination, me)

"""The journal: a SQLite file (WAL, mode 0600) that holds observations until they are delivered; without keys, all.

Several processes may share one file. Each row is sent by one of them: the process that wrote it, or when that has died
the one that adopted its rows; see writers.py. Sending changes nothing in a row; its removal is the acknowledgement.

More than 300 lines: all statements about rows stand together.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

from ..encoding.row import Row
from ..errors import JournalTooNew
from ..internals import forks
from ..internals.faults import warn_once
from .bodies import Bodies
from .chains import MIN_TEXT_BYTES, Chains
from .contention import PAUSE_S, POLL_MS, Contention, is_locked, is_read_error, patient
from .deflating import ORIGIN, Origin
from .fork_guard import fork_guard
from .nodes import remove_unused
from .rows import INSERT_STORED, INSERTS, STORED_COLUMNS, StoredRow, fitting, slices
from .schema import DELIVERED, PENDING, SCHEMA, SET_ASIDE, connect, schema_version

__all__ = ["DELIVERED", "PENDING", "SCHEMA", "SET_ASIDE", "Batch", "Journal", "StoredRow"]

NODES_PER_TRANSACTION = 256
READ_ERRORS = 5
OPENING_S = 8.0
"""How long to wait for a file that is locked when it is opened."""


class Batch(NamedTuple):
    """Waiting rows of one writer, the oldest first.

    Attributes:
        ids: their numbers in the journal.
        sizes: the bytes of each row's body.
        body: the bodies, one after the other: one OTLP request.
    """

    writer: int
    ids: list[int]
    sizes: list[int]
    body: bytes

    def halves(self) -> tuple[Batch, Batch]:
        """Return the two halves, of one row at least each."""
        middle = len(self.ids) // 2
        cut = sum(self.sizes[:middle])
        return (
            Batch(self.writer, self.ids[:middle], self.sizes[:middle], self.body[:cut]),
            Batch(self.writer, self.ids[middle:], self.sizes[middle:], self.body[cut:]),
        )


class Journal:
    """One open journal; its methods may be called from several threads.

    Args:
        path: the file, or None for a journal in memory.
        fsync: whether each transaction waits until it is on the disk, so that it survives a power cut.

    Raises:
        JournalTooNew: the file was written by a newer release.
        NoJournal, another sqlite3.Error, OSError: the file cannot be used.
    """

    def __init__(self, path: Path | None, *, fsync: bool = False) -> None:
        self.path = path
        self._fsync = fsync
        self._lock = forks.Lock()
        self._pid = os.getpid()
        self.inode = 0
        self._log = Path(f"{os.path.realpath(path)}-wal") if path is not None else None
        self._log_inode = 0
        self._db: sqlite3.Connection | None = None
        self._skipped: dict[int, int] = {}
        self._chains = Chains()
        with fork_guard.opening:
            self._connected()
            fork_guard.add(self)

    # -- the connection

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Yield the connection for a block that is committed as a whole or not at all."""
        with self._begun() as db:
            try:
                self._check_schema(db)
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back by themselves
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _begun(self) -> Generator[sqlite3.Connection]:
        """Yield the connection with a transaction begun, and the lock held; release the lock between two tries."""
        contention = Contention()
        while True:
            with self._lock:
                if self._db is not None and _inode(self._log) != self._log_inode:
                    self._leave_removed_log()
                db = self._connected()
                if contention.begin(db):
                    yield db
                    return
            contention.pause()

    @patient
    def query(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        with self._lock:
            return self._connected().execute(sql, values).fetchall()

    @patient
    def give_back(self, max_pages: int = 0) -> None:
        """Return free pages of the file to the system: *max_pages*, or with 0 all."""
        with self._lock:
            # Not `execute`: it takes one step of a statement without columns, and each step frees a single page.
            self._connected().executescript(f"PRAGMA incremental_vacuum({max_pages})")

    def replaced(self) -> bool:
        """Return whether another file, or none, is now where this journal was opened."""
        if self.path is None:
            return False
        try:
            return self.path.stat().st_ino != self.inode
        except OSError:
            return True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None and self._pid == os.getpid():
                self._db.close()
            self._db = None

    def abandon(self) -> None:
        """Forget the connection without closing it.

        When the last connection is closed, SQLite removes the write-ahead log by its name: that is the log of another
        file when this one was replaced, and the parent's in a forked child.
        """
        with self._lock:
            connection, self._db = self._db, None
        if connection is not None:
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # else the interpreter closes it at exit

    # -- while this process is forked

    def pause(self, wait_s: float) -> bool:
        """Close the file once its transaction has ended, and keep it closed; False if that takes too long."""
        if not self._lock.acquire(timeout=wait_s):
            return False
        if self.path is not None:  # a journal in memory has no locks, and would be lost
            with suppress(sqlite3.Error):
                self.close()
        return True

    def resume(self) -> None:
        """Continue after a `pause`."""
        self._lock.release()

    def inherited(self) -> None:
        """In a forked child: never use the connection of the parent process."""
        if self.path is not None:
            self.abandon()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if self._pid != os.getpid():
                raise OSError("this journal was opened by the parent process")
            if self.path is not None and fork_guard.tainted:
                raise OSError("the parent process was busy with the journal when it forked this one")
            self._db = _patiently(self.path, self._fsync)
            self._db.execute(f"PRAGMA busy_timeout={POLL_MS}")
            self._bodies = Bodies(self._db)
            self.inode = _inode(self.path)
            self._log_inode = _inode(self._log)
        return self._db

    def _leave_removed_log(self) -> None:
        """Close the file, which opens again: another process has removed the log, and what is written there is lost.

        Nothing is lost so far: who removes the log has brought it into the file. As long as this process has a
        connection that knows the old log, SQLite opens no other one ("disk I/O error").
        """
        if self.replaced():  # that is another file, whose log goes with it
            return
        warn_once(
            "the journal's locks",
            "Something in this process has opened and closed the file %s, the journal, without sqlite3: SQLite's locks "
            "on it were lost, and another process has removed its log. It is opened again. Copy it in another process, "
            "or use `langfuse-integration export`: else two processes may write to it at once, and damage it",
            self.path,
        )
        self.close()
        self._chains = Chains()

    def _check_schema(self, db: sqlite3.Connection) -> None:
        """Raise OSError if a newer release has migrated the file meanwhile: its rows would be misread from then on."""
        version = schema_version(db)
        if version > SCHEMA:
            raise OSError(str(JournalTooNew(str(self.path), version, SCHEMA)))

    # -- writing

    def append(self, writer: int, rows: Sequence[Row], opened: Iterable[Row] = (), ended: Iterable[str] = ()) -> None:
        """Write finished rows and rows that are still open; the spans with the ids *ended* are open no longer."""
        with self.transaction() as db:
            self.add(db, writer, rows)
            self.add_open(db, writer, opened, ended)

    def add(self, db: sqlite3.Connection, writer: int, rows: Sequence[Row]) -> None:
        """Write finished rows, inside a transaction."""
        # What ends last holds what the rows before it say: the answer of a model is in the state of its graph.
        values_of_rows = [(*self._stored(db, row), writer) for row in reversed(rows)][::-1]
        for start, size in slices(len(rows)):
            db.execute(INSERTS[size], list(chain.from_iterable(values_of_rows[start : start + size])))

    @staticmethod
    def add_open(db: sqlite3.Connection, writer: int, opened: Iterable[Row], ended: Iterable[str]) -> None:
        """Write rows that are still open, inside a transaction; the spans with the ids *ended* are open no longer."""
        for span_id in ended:
            db.execute("DELETE FROM open_spans WHERE span_id = ?", (span_id,))
        for row in opened:
            values_of_one = (row.span_id, writer, os.getpid(), row.started_ns, bytes(row.body))
            db.execute("INSERT OR REPLACE INTO open_spans VALUES (?,?,?,?,?)", values_of_one)

    def insert(self, db: sqlite3.Connection, rows: Iterable[StoredRow]) -> int:
        """Write rows of another journal, inside a transaction; return how many of them wait for delivery."""
        pending = 0
        for row in rows:
            values = (*self._stored(db, row.row), row.writer, row.state, row.reason)
            db.execute(INSERT_STORED, values)
            pending += row.state == PENDING
        return pending

    def _stored(self, db: sqlite3.Connection, row: Row) -> tuple[Any, ...]:
        """Return the values of a row, its large texts in chains, for the columns of spans without the writer."""
        if len(row.body) < MIN_TEXT_BYTES:
            return (*row[:-1], bytes(row.body), None, None)
        return (*row[:-1], *self._chains.stored(db, row))

    def remove_unused(self, budget_s: float = 0.1) -> bool:
        """Remove parts of large texts that no row refers to any more; False when *budget_s* was not enough."""
        deadline = time.monotonic() + budget_s
        while self.query("SELECT 1 FROM nodes WHERE uses = 0 LIMIT 1"):
            with self.transaction() as db:
                remove_unused(db, NODES_PER_TRANSACTION)
            if time.monotonic() > deadline:
                return False
        return True

    # -- reading

    @patient
    def rows(self, after: int, limit: int) -> list[tuple[int, StoredRow]]:
        """Return the next *limit* rows whose number is higher than *after*, with their numbers."""
        statement = f"SELECT id, pieces, {STORED_COLUMNS} FROM spans WHERE id > ? ORDER BY id LIMIT ?"
        with self._lock:
            db = self._connected()
            return [
                (number, StoredRow.of(self._bodies, pieces, values))
                for number, pieces, *values in db.execute(statement, (after, limit)).fetchall()
            ]

    # -- sending

    @patient
    def next_batch(self, writer: int, max_rows: int, max_bytes: int, session_id: str | None = None) -> Batch | None:
        """Return the oldest waiting rows of *writer*, or None.

        Args:
            max_bytes: of all bodies together; a single row may be larger.
            session_id: only rows of this session.

        Raises:
            BrokenChain: the file is damaged.
        """
        waiting = "FROM spans WHERE writer = :writer AND state = 0 AND id > :after"
        if session_id is not None:
            waiting += " AND session_id = :session"
        values = {"writer": writer, "after": self._skipped.get(writer, 0), "session": session_id, "limit": max_rows}
        with self._lock:
            db = self._connected()
            # One statement of one row, however many rows it reads: see ROWS_PER_INSERT. group_concat keeps BLOBs.
            sizes = db.execute(
                f"SELECT group_concat(size) FROM (SELECT coalesce(size_bytes, length(body)) AS size {waiting} "
                "ORDER BY id LIMIT :limit)",
                values,
            ).fetchone()[0]
            if sizes is None:
                return None
            values["limit"] = fitting(sizes.split(","), max_bytes)
            db.execute("BEGIN")  # rows and chains of one moment
            try:
                self._check_schema(db)
                ids, sizes, pieces, origins, body = db.execute(
                    "SELECT group_concat(id), group_concat(length(body)), group_concat(coalesce(pieces, ''), ';'), "
                    "json_group_array(json(origin)), CAST(group_concat(body, '') AS BLOB) "
                    f"FROM (SELECT id, body, pieces, CASE WHEN pieces IS NOT NULL THEN {ORIGIN} END AS origin {waiting}"
                    " ORDER BY id LIMIT :limit)",
                    values,
                ).fetchone()
                if ids is None:  # removed meanwhile
                    return None
                bodies = self._whole(body, [int(size) for size in sizes.split(",")], pieces.split(";"), origins)
            finally:
                db.execute("COMMIT")
        return Batch(writer, [int(number) for number in ids.split(",")], *bodies)

    @patient
    def bodies(self, statement: str, values: Mapping[str, Any]) -> list[tuple[int, bytes]]:
        """Return number and OTLP request of the rows that a statement selects as (id, pieces, ORIGIN, body).

        Raises:
            BrokenChain: the file is damaged.
        """
        with self._lock:
            db = self._connected()
            db.execute("BEGIN")  # rows and chains of one moment
            try:
                self._check_schema(db)
                rows = db.execute(statement, values).fetchall()
                return [(number, self._bodies.whole(body, pieces, origin)) for number, pieces, origin, body in rows]
            finally:
                db.execute("COMMIT")

    def _whole(self, body: bytes, sizes: list[int], pieces: list[str], origins: str) -> tuple[list[int], bytes]:
        """Return sizes and bodies of whole rows, from those of stored rows; *origins* is a JSON list."""
        if not any(pieces):
            return sizes, body
        ends = list(accumulate(sizes))
        bodies = [
            self._bodies.whole(body[end - size : end], piece, Origin._make(columns) if columns is not None else None)
            for size, end, piece, columns in zip(sizes, ends, pieces, json.loads(origins), strict=True)
        ]
        return [len(whole) for whole in bodies], b"".join(bodies)

    def acknowledge(self, batch: Batch, keep: bool) -> None:
        """Mark the rows of a batch as delivered: they are removed, or with *keep* stay for the local replay.

        Rows that were removed while Langfuse received them were counted as lost, and are so no longer. A row that
        waits for another destination stays, too: see forward_tables.py.
        """
        statement = "UPDATE spans SET state = 1" if keep else "DELETE FROM spans"
        with self.transaction() as db:
            where = "WHERE id IN (SELECT value FROM json_each(?))"
            ids = (json.dumps(batch.ids),)
            missing = len(batch.ids) - db.execute(f"{statement} {where}", ids).rowcount
            if missing and not keep:
                missing -= db.execute(f"SELECT count(*) FROM spans {where}", ids).fetchone()[0]
            if missing:
                db.execute("UPDATE writers SET evicted = max(evicted - ?, 0) WHERE id = ?", (missing, batch.writer))

    def skip(self, writer: int, number: int) -> None:
        """Do not return rows of *writer* up to this number again, as long as this journal is open."""
        self._skipped[writer] = number

    def remove(self, db: sqlite3.Connection, ids: Sequence[int]) -> None:
        """Remove rows for good, inside a transaction; one that another destination waits for is removed, too."""
        for _ in range(2):  # the first time, such a row becomes a delivered one: see forward_tables.py
            db.execute("DELETE FROM spans WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))

    def set_aside(self, ids: Sequence[int], reason: str) -> None:
        """Keep rows that Langfuse refuses, with the reason; they are not sent again."""
        with self.transaction() as db:
            db.execute(
                "UPDATE spans SET state = 2, reason = ? WHERE id IN (SELECT value FROM json_each(?))",
                (reason, json.dumps(ids)),
            )

    def pending(self, writer: int | None = None, session_id: str | None = None) -> int:
        """Return how many rows wait: of all writers and sessions, or of one."""
        given = {"writer": writer, "session_id": session_id}
        values = {column: value for column, value in given.items() if value is not None}
        conditions = "".join(f" AND {column} = ?" for column in values)
        return int(self.query(f"SELECT count(*) FROM spans WHERE state = 0{conditions}", (*values.values(),))[0][0])


def _inode(path: Path | None) -> int:
    """Return the number of a file; 0 where there is none, or no file is meant."""
    try:
        return path.stat().st_ino if path is not None else 0
    except OSError:
        return 0


def _patiently(path: Path | None, fsync: bool) -> sqlite3.Connection:
    """Open the file; again while it is locked: by one of many processes that create it at once, say.

    It is opened a few times more after an I/O error: another process may remove the log just then, where this one has
    lost SQLite's locks on the file, see schema.py.
    """
    deadline = time.monotonic() + OPENING_S
    errors = 0
    while True:
        try:
            return connect(path, fsync=fsync)
        except sqlite3.OperationalError as error:
            errors += not is_locked(error)
            if errors > (READ_ERRORS if is_read_error(error) else 0) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(PAUSE_S, 10 * PAUSE_S))

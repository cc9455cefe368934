"""The journal: a SQLite file (WAL, mode 0600) that holds what is not delivered yet, and without keys everything.

Several processes may share one file. Each row is sent by one of them: the process that wrote it, or when that has died
the one that took over; see writers.py. Nothing is written to a row to send it, and its removal is the acknowledgement.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..encoding.row import Row
from ..internals import forks
from .fork_guard import fork_guard
from .schema import SCHEMA, connect

PENDING, DELIVERED, SET_ASIDE = 0, 1, 2
__all__ = ["DELIVERED", "PENDING", "SCHEMA", "SET_ASIDE", "Batch", "Journal"]

_COLUMNS = (*Row._fields, "writer")
_TOGETHER = 64
"""Rows in one INSERT: each statement gives the interpreter lock away and has to wait for it again."""


class Batch(NamedTuple):
    """Rows of one writer that wait, the oldest first.

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

    Raises:
        JournalTooNew: the file was written by a newer release.
        NoJournal, another sqlite3.Error, OSError: the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = forks.Lock(reentrant=True)
        self._pid = os.getpid()
        self.inode = 0
        self._db: sqlite3.Connection | None = None
        self._skipped: dict[int, int] = {}
        forks.watch()
        with fork_guard.opening:
            self._connected()
            fork_guard.add(self)

    # -- the connection

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Give the connection for a block that is written as a whole or not at all."""
        with self._lock:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # some errors have rolled back by themselves
                    db.execute("ROLLBACK")
                raise

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what one statement finds."""
        with self._lock:
            return self._connected().execute(sql, values).fetchall()

    def give_back(self, most_pages: int = 0) -> None:
        """Return free pages of the file to the system, so many or all."""
        with self._lock:
            # Not `execute`: it takes one step of a statement without columns, and each step frees a single page.
            self._connected().executescript(f"PRAGMA incremental_vacuum({most_pages})")

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
        """Let go of the file without closing it.

        To close the last connection to a file, SQLite removes its write-ahead log by name: that is another file's by
        now when this one was replaced, and the parent's in a forked child.
        """
        with self._lock:
            held, self._db = self._db, None
        if held is not None:
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))  # else the interpreter closes it on its way out

    # -- while this process is forked

    def pause(self, wait_s: float) -> bool:
        """Close the file once its transaction has ended, and keep it closed; False if that takes too long."""
        if not self._lock.acquire(timeout=wait_s):
            return False
        if self.path is not None:  # what is in memory has no locks, and would be gone
            with suppress(sqlite3.Error):
                self.close()
        return True

    def resume(self) -> None:
        """Go on after a `pause`."""
        self._lock.release()

    def inherited(self) -> None:
        """Never use what the parent process had open."""
        if self.path is not None:
            self.abandon()

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            if self._pid != os.getpid():
                raise OSError("this journal was opened by the parent process")
            if self.path is not None and fork_guard.tainted:
                raise OSError("the parent process was busy with the journal when it forked this one")
            self._db = _patiently(self.path)
            self.inode = self.path.stat().st_ino if self.path is not None else 0
        return self._db

    # -- writing

    def append(self, writer: int, rows: Sequence[Row], opened: Iterable[Row] = (), ended: Iterable[str] = ()) -> None:
        """Write finished rows, and rows that are still open; what has *ended*, by span id, is open no more."""
        with self.transaction() as db:
            for start, size in _slices(len(rows)):
                values = chain.from_iterable((*row, writer) for row in rows[start : start + size])
                db.execute(_INSERTS[size], list(values))
            for span_id in ended:
                db.execute("DELETE FROM open_spans WHERE span_id = ?", (span_id,))
            for row in opened:
                values_of_one = (row.span_id, writer, os.getpid(), row.started_ns, row.body)
                db.execute("INSERT OR REPLACE INTO open_spans VALUES (?,?,?,?,?)", values_of_one)

    # -- sending

    def next_batch(self, writer: int, most_rows: int, most_bytes: int, session_id: str | None = None) -> Batch | None:
        """Return the oldest rows of *writer* that wait, or None.

        Args:
            most_bytes: of all bodies; one row is returned even if it is larger.
            session_id: only rows of this session.
        """
        found = "FROM spans WHERE writer = :writer AND state = 0 AND id > :after"
        if session_id is not None:
            found += " AND session_id = :session"
        values = {"writer": writer, "after": self._skipped.get(writer, 0), "session": session_id, "most": most_rows}
        with self._lock:
            db = self._connected()
            # One statement of one row, however many rows it reads: see _TOGETHER. group_concat takes BLOBs as they are.
            sizes = db.execute(
                f"SELECT group_concat(size) FROM (SELECT length(body) AS size {found} ORDER BY id LIMIT :most)",
                values,
            ).fetchone()[0]
            if sizes is None:
                return None
            values["most"] = _fitting(sizes.split(","), most_bytes)
            ids, sizes, body = db.execute(
                "SELECT group_concat(id), group_concat(length(body)), CAST(group_concat(body, '') AS BLOB) "
                f"FROM (SELECT id, body {found} ORDER BY id LIMIT :most)",
                values,
            ).fetchone()
        if ids is None:  # the caps took them meanwhile
            return None
        return Batch(writer, [int(found) for found in ids.split(",")], [int(size) for size in sizes.split(",")], body)

    def acknowledge(self, ids: Sequence[int], keep: bool) -> None:
        """Note that Langfuse has these rows: they go, or with *keep* stay for the local replay."""
        statement = "UPDATE spans SET state = 1" if keep else "DELETE FROM spans"
        with self.transaction() as db:
            db.execute(f"{statement} WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))

    def skip(self, writer: int, number: int) -> None:
        """Do not give out rows of *writer* up to this number again, as long as this journal is open."""
        self._skipped[writer] = number

    def set_aside(self, ids: Sequence[int], reason: str) -> None:
        """Keep rows that Langfuse refuses, with the reason, and from being sent again."""
        with self.transaction() as db:
            db.execute(
                "UPDATE spans SET state = 2, reason = ? WHERE id IN (SELECT value FROM json_each(?))",
                (reason, json.dumps(ids)),
            )

    def pending(self, writer: int | None = None, session_id: str | None = None) -> int:
        """Return how many rows wait: of all, or of one writer or session."""
        wanted = "SELECT count(*) FROM spans WHERE state = 0"
        wanted += " AND (?1 IS NULL OR writer = ?1) AND (?2 IS NULL OR session_id = ?2)"
        return int(self.query(wanted, (writer, session_id))[0][0])


def _patiently(path: Path | None) -> sqlite3.Connection:
    """Open the file; two processes that make it at the same moment may find it locked, whatever the time-out."""
    for pause_s in (0.01, 0.05, 0.2):
        try:
            return connect(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(pause_s)
    return connect(path)


def _insert(count: int) -> str:
    row = f"({','.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO spans ({', '.join(_COLUMNS)}) VALUES {','.join([row] * count)}"


_INSERTS = {1 << power: _insert(1 << power) for power in range(_TOGETHER.bit_length())}


def _slices(count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, size) of slices with few different sizes, so that few statements are prepared."""
    start = 0
    while start < count:
        size = min(_TOGETHER, 1 << ((count - start).bit_length() - 1))
        yield start, size
        start += size


def _fitting(sizes: Sequence[str], most_bytes: int) -> int:
    total = count = 0
    for count, size in enumerate(sizes, 1):
        total += int(size)
        if total > most_bytes:
            return max(count - 1, 1)
    return count

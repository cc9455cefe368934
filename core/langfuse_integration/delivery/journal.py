"""The journal: a SQLite file (WAL, mode 0600) that holds what is not delivered yet, and without keys everything.

Several processes may share one file. A process claims rows before it sends them, for a limited time, so that each row
is sent by one, and by another should the first one die.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import JournalTooNew
from .row import Row

SCHEMA = 1
CLAIM_S = 60.0
PENDING, DELIVERED, SET_ASIDE = 0, 1, 2

_TABLES = """
CREATE TABLE IF NOT EXISTS spans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    span_id TEXT NOT NULL, trace_id TEXT NOT NULL, parent_id TEXT NOT NULL,
    session_id TEXT, user_id TEXT, name TEXT NOT NULL, type TEXT NOT NULL, level TEXT NOT NULL,
    started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, body BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0, writer TEXT NOT NULL, claimed_until REAL NOT NULL DEFAULT 0, reason TEXT
);
CREATE INDEX IF NOT EXISTS spans_by_session ON spans (session_id, started_ns);
CREATE INDEX IF NOT EXISTS spans_by_trace ON spans (trace_id);
CREATE INDEX IF NOT EXISTS spans_waiting ON spans (id) WHERE state = 0;
CREATE TABLE IF NOT EXISTS open_spans (
    span_id TEXT PRIMARY KEY, writer TEXT NOT NULL, pid INTEGER NOT NULL, started_ns INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    comment TEXT, state INTEGER NOT NULL DEFAULT 0, writer TEXT NOT NULL
) WITHOUT ROWID;
"""
_COLUMNS = "span_id, trace_id, parent_id, session_id, user_id, name, type, level, started_ns, ended_ns, body"


class Claimed(NamedTuple):
    """A row that this process may send now."""

    id: int
    span_id: str
    body: bytes


class Journal:
    """One open journal file.

    Args:
        path: the file; it and its directory are made, readable by this user only.
        writer: who writes, unique to this process.

    Raises:
        JournalTooNew: the file was written by a newer release.
        OSError, sqlite3.Error: the file cannot be used.
    """

    def __init__(self, path: Path, writer: str) -> None:
        self.path = path
        self._writer = writer
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA:
            self._db.close()
            raise JournalTooNew(str(path), found, SCHEMA)
        if found < SCHEMA:
            self._db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")

    def append(self, rows: Sequence[Row], opened: Iterable[Row] = (), ended: Iterable[str] = ()) -> None:
        """Write finished rows and rows that are still open, in one transaction."""
        db, writer = self._db, self._writer
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(
                f"INSERT INTO spans ({_COLUMNS}, writer) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
                [(*row, writer) for row in rows],
            )
            db.executemany("DELETE FROM open_spans WHERE span_id = ?", [(span_id,) for span_id in ended])
            db.executemany(
                "INSERT OR REPLACE INTO open_spans VALUES (?,?,?,?,?)",
                [(row.span_id, writer, os.getpid(), row.started_ns, row.body) for row in opened],
            )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def claim(self, most: int) -> list[Claimed]:
        """Return up to *most* pending rows, oldest first, that no other process will send meanwhile."""
        now = time.time()
        found = self._db.execute(
            "UPDATE spans SET claimed_until = ? WHERE id IN "
            "(SELECT id FROM spans WHERE state = 0 AND claimed_until < ? ORDER BY id LIMIT ?) RETURNING id, span_id, body",
            (now + CLAIM_S, now, most),
        ).fetchall()
        return sorted(Claimed(*row) for row in found)

    def release(self, ids: Iterable[int]) -> None:
        """Give back claimed rows unsent."""
        self._db.executemany("UPDATE spans SET claimed_until = 0 WHERE id = ?", [(id,) for id in ids])

    def acknowledge(self, ids: Iterable[int], keep: bool) -> None:
        """Note that Langfuse has these rows: they go, or with *keep* stay for the local replay."""
        statement = "UPDATE spans SET state = 1 WHERE id = ?" if keep else "DELETE FROM spans WHERE id = ?"
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(statement, [(id,) for id in ids])
        self._db.execute("COMMIT")

    def set_aside(self, id: int, reason: str) -> None:  # noqa: A002
        """Keep a row that Langfuse refuses from being sent again."""
        self._db.execute("UPDATE spans SET state = 2, reason = ? WHERE id = ?", (reason, id))

    def pending(self, writer: str | None = None) -> int:
        """Return how many rows wait, of *writer* or of all."""
        if writer is None:
            return int(self._db.execute("SELECT count(*) FROM spans WHERE state = 0").fetchone()[0])
        query = "SELECT count(*) FROM spans WHERE state = 0 AND writer = ?"
        return int(self._db.execute(query, (writer,)).fetchone()[0])

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a reading query finds: for the replay."""
        return self._db.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

"""The journal's tables, and how an older file becomes a current one."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from ..errors import JournalTooNew

MIGRATIONS = (
    """
    CREATE TABLE spans (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        span_id TEXT NOT NULL, trace_id TEXT NOT NULL, parent_id TEXT NOT NULL,
        session_id TEXT, user_id TEXT, name TEXT NOT NULL, type TEXT NOT NULL, level TEXT NOT NULL,
        started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, body BLOB NOT NULL,
        writer INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT
    );
    CREATE INDEX spans_by_session ON spans (session_id, started_ns);
    CREATE INDEX spans_by_trace ON spans (trace_id);
    CREATE INDEX spans_waiting ON spans (writer, id) WHERE state = 0;
    CREATE TABLE open_spans (
        span_id TEXT PRIMARY KEY, writer INTEGER NOT NULL, pid INTEGER NOT NULL, started_ns INTEGER NOT NULL,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE scores (
        id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, name TEXT NOT NULL, value NOT NULL,
        data_type TEXT NOT NULL, comment TEXT, at_ns INTEGER NOT NULL,
        writer INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT
    );
    CREATE TABLE media (
        id TEXT PRIMARY KEY, content_type TEXT NOT NULL, sha256 TEXT NOT NULL, body BLOB NOT NULL
    );
    CREATE TABLE media_uses (
        id INTEGER PRIMARY KEY, media_id TEXT NOT NULL, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
        field TEXT NOT NULL, writer INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT
    );
    CREATE INDEX media_uses_by_media ON media_uses (media_id);
    CREATE TABLE writers (
        id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, destination TEXT NOT NULL, pid INTEGER NOT NULL,
        since_ns INTEGER NOT NULL, evicted INTEGER NOT NULL DEFAULT 0
    );
    """,
    # One observation of a large trace, and the few that failed among very many, without reading the others.
    """
    DROP INDEX spans_by_trace;
    CREATE INDEX spans_by_trace ON spans (trace_id, span_id);
    CREATE INDEX spans_failed ON spans (session_id) WHERE level = 'ERROR';
    """,
    # Media that nobody takes grow too old like everything else.
    "ALTER TABLE media_uses ADD COLUMN at_ns INTEGER NOT NULL DEFAULT 0",
    # Sessions are scored, too.
    "ALTER TABLE scores ADD COLUMN session_id TEXT",
)
"""What makes a schema of version n from one of version n - 1; the first starts from nothing.

    spans        finished observations: `state` is PENDING, DELIVERED or SET_ASIDE, and then `reason` says why
    open_spans   roots and agent runs that have not ended, as they were when they were noted
    scores       `value` is a number or text, `data_type` Langfuse's word for it
    media        images, sounds and files that payloads held, by Langfuse's id for them
    media_uses   in which observation, and there in which field
    writers      who wrote: `owner` is the writer that delivers (itself, until it dies), `destination` a fingerprint of
                 the Langfuse project that the rows are for, empty without keys, `evicted` what the caps took away
"""
SCHEMA = len(MIGRATIONS)
_TABLES = {"spans", "open_spans", "scores", "media", "media_uses", "writers"}
BUSY_S = 2.0
"""How long a lock of another process is waited for; a transaction takes a few milliseconds."""
WAL_BYTES = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a burst."""


class NoJournal(sqlite3.DatabaseError):
    """A database that is none of ours."""


def connect(path: Path | None) -> sqlite3.Connection:
    """Return a connection to the journal of today's schema in *path*, or to an empty one in memory.

    The file is made if need be, and its directory: readable by this user only.

    Raises:
        JournalTooNew: the file was written by a newer release.
        NoJournal, another sqlite3.Error, OSError: the file cannot be used.
    """
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(path or ":memory:", timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _version(db, str(path))  # before anything is changed in it
        # auto_vacuum counts only before the first table: an emptied journal gives its room back.
        db.executescript(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            f"PRAGMA journal_size_limit={WAL_BYTES};"
        )
        migrate(db, str(path))
    except BaseException:
        db.close()
        raise
    return db


def migrate(db: sqlite3.Connection, name: str) -> None:
    """Bring the file behind *db* to today's schema, in one transaction."""
    if _version(db, name) < SCHEMA:
        db.execute("BEGIN IMMEDIATE")
        try:
            for step in MIGRATIONS[_version(db, name) :]:  # another process may have done it meanwhile
                for statement in step.split(";"):  # executescript would commit before it begins
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    missing = _TABLES - {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing:
        raise NoJournal(f"it has no table {', '.join(sorted(missing))}")


def _version(db: sqlite3.Connection, name: str) -> int:
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > SCHEMA:
        raise JournalTooNew(name, found, SCHEMA)
    return found

"""The journal's schema, and its migration from older versions."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import JournalTooNew
from ..internals import forks
from ..internals.free_threading import FREE_THREADED
from . import durability

PENDING, DELIVERED, SET_ASIDE = 0, 1, 2
"""The state of delivery of a row."""
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
    # Media that are never delivered expire like rows.
    "ALTER TABLE media_uses ADD COLUMN at_ns INTEGER NOT NULL DEFAULT 0",
    # Large texts are stored once: see chains.py.
    """
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL, hash BLOB NOT NULL, content BLOB,
        copy_of INTEGER NOT NULL, uses INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX nodes_by_hash ON nodes (hash);
    CREATE INDEX nodes_by_content ON nodes (content) WHERE content IS NOT NULL;
    CREATE INDEX nodes_unused ON nodes (id) WHERE uses = 0;
    ALTER TABLE spans ADD COLUMN pieces TEXT;
    ALTER TABLE spans ADD COLUMN size_bytes INTEGER;
    CREATE TRIGGER spans_inserted AFTER INSERT ON spans WHEN new.pieces IS NOT NULL BEGIN
        UPDATE nodes SET uses = uses + 1
        WHERE id IN (SELECT json_extract(value, '$[1]') FROM json_each(new.pieces));
    END;
    CREATE TRIGGER spans_deleted AFTER DELETE ON spans WHEN old.pieces IS NOT NULL BEGIN
        UPDATE nodes SET uses = uses - 1
        WHERE id IN (SELECT json_extract(value, '$[1]') FROM json_each(old.pieces));
    END;
    """,
    # Sessions are scored, too.
    "ALTER TABLE scores ADD COLUMN session_id TEXT",
    # Scores of Langfuse's own client have further fields.
    "ALTER TABLE scores ADD COLUMN fields TEXT",
    # What Langfuse is to delete, until it has been told.
    """
    CREATE TABLE erasures (
        id INTEGER PRIMARY KEY, destination TEXT NOT NULL, user_id TEXT, session_id TEXT, traces TEXT NOT NULL,
        at_ns INTEGER NOT NULL
    );
    """,
    # Rows are deflated with a dictionary: see deflating.py. Older releases cannot read them.
    "SELECT 1",
    # The parts of large texts are deflated, too, and rows with their own columns in the dictionary: see deflating.py.
    "ALTER TABLE nodes ADD COLUMN size_bytes INTEGER",
)
"""The steps from schema version n - 1 to n; the first one creates the tables.

    spans        finished observations: `state` is PENDING, DELIVERED or SET_ASIDE, and then `reason` says why; `body`
                 is an OTLP request; where `pieces` is set it lacks its large texts and is
                 deflated with the dictionary there, and `size_bytes` is its whole size
    nodes        parts of large texts: `parent` is the part before it or 0, `uses` counts rows and nodes that refer to
                 it, `content` is a hash of the part, `body` its text, deflated where `size_bytes` is the size of it;
                 `body` is empty when the text is the one of node `copy_of`
    open_spans   roots and agent runs that have not ended, as they were when they were written
    scores       `value` is a number or text, `data_type` Langfuse's word for it, `fields` is JSON with further fields
                 of the API
    media        images, sounds and files from payloads, by Langfuse's id for them
    media_uses   the observation and the field that a medium is used in
    writers      `owner` is the writer that delivers (itself, until it dies), `destination` a fingerprint of the
                 Langfuse project that the rows are for, empty without keys, `evicted` counts the undelivered rows that
                 were removed
    erasures     users and sessions that Langfuse has not been told to delete yet; `traces` is a JSON list of trace ids
"""
SCHEMA = len(MIGRATIONS)
PIECES_SCHEMA = 4
"""The first version that stores large texts of rows in nodes."""
_TABLES = {"spans", "nodes", "open_spans", "scores", "media", "media_uses", "writers", "erasures"}
BUSY_S = 0.05
"""How long opening the file waits for a lock of another process, before it is opened again."""
WAL_BYTES = 16 * 1024 * 1024
"""The size to which the write-ahead log is truncated after a burst."""

_creating = forks.Lock()
"""Held until the descriptor of a new file is closed: no other thread has SQLite open the file before."""


class NoJournal(sqlite3.DatabaseError):
    """The file is a database, but not a journal."""


def connect(path: Path | None, *, fsync: bool = False) -> sqlite3.Connection:
    """Return a connection to the journal in *path*, migrated to the current schema, or to an empty one in memory.

    The file and its directory are created if need be, readable by this user only.

    Args:
        fsync: whether each transaction waits for the disk, and new directories are there after a power cut.

    Raises:
        JournalTooNew: the file was written by a newer release.
        NoJournal, another sqlite3.Error, OSError: the file cannot be used.
    """
    if path is not None:
        durability.make_directory(path.parent, durable=fsync)
        _create(path)
    # A free-threaded Python lets go of an object on the thread that made it: a statement that another thread has cached
    # would keep a closed connection, and its locks, until that thread does something.
    cached = 0 if FREE_THREADED else 128
    db = sqlite3.connect(
        path or ":memory:", timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=cached
    )
    try:
        # auto_vacuum counts only before the first table: an emptied journal gives its room back. Later it would wait
        # for the other processes that write.
        is_new = not _version(db, str(path))  # before anything is changed in it
        db.executescript(
            f"{'PRAGMA auto_vacuum=INCREMENTAL;' if is_new else ''} PRAGMA journal_mode=WAL;"
            f"{durability.PRAGMAS if fsync else 'PRAGMA synchronous=NORMAL;'}"
            f"PRAGMA journal_size_limit={WAL_BYTES};"
        )
        migrate(db, str(path))
    except BaseException:
        db.close()
        raise
    return db


def _create(path: Path) -> None:
    """Create the file, readable by this user only, if it does not exist; one that exists is not even opened.

    A process that closes any descriptor of a file loses its record locks on it, SQLite's among them. Another process
    would then take itself for the last one, and remove the write-ahead log that this one still writes.
    """
    with _creating, suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def migrate(db: sqlite3.Connection, name: str) -> None:
    """Migrate the file behind *db* to the current schema, in one transaction."""
    if _version(db, name) < SCHEMA:
        db.execute("BEGIN IMMEDIATE")
        try:
            for step in MIGRATIONS[_version(db, name) :]:  # another process may have migrated it meanwhile
                for statement in statements(step):  # executescript would commit before it begins
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={SCHEMA}")
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some errors have rolled back by themselves
                db.execute("ROLLBACK")
            raise
    missing = _TABLES - {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing:
        raise NoJournal(f"it has no table {', '.join(sorted(missing))}")


def schema_version(db: sqlite3.Connection) -> int:
    """Return the version of the schema of the file behind *db*."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _version(db: sqlite3.Connection, name: str) -> int:
    version = schema_version(db)
    if version > SCHEMA:
        raise JournalTooNew(name, version, SCHEMA)
    return version


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; a trigger is one statement."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):  # a trigger holds semicolons
            yield statement
            statement = ""

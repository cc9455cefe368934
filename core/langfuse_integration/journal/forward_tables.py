"""The tables of forwarding: which rows still wait for which destination beside Langfuse.

The tables are made when the first process with a destination opens the file; where there is none, they are not there.
Triggers keep them true whoever writes, also a process of an older release or one without destinations:

    a row that is written     waits for every destination that its writer has subscribed
    a row that Langfuse has   stays, as DELIVERED, while a destination still waits for it
    a row that is removed     waits no longer, and counts as evicted where it did
"""

from __future__ import annotations

import sqlite3

from ..destinations import OtlpDestination
from .schema import statements

WAITING, FORWARDED, REFUSED = 0, 1, 2
"""The state of a row for one destination."""
TABLES = """
    CREATE TABLE IF NOT EXISTS destinations (
        id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, address TEXT NOT NULL, capture TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS subscriptions (
        writer INTEGER NOT NULL, destination INTEGER NOT NULL, owner INTEGER NOT NULL,
        evicted INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (writer, destination)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS forwards (
        row INTEGER NOT NULL, destination INTEGER NOT NULL, writer INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0, reason TEXT, PRIMARY KEY (row, destination)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS companions (
        id INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER NOT NULL, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
        ended_ns INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS forwards_waiting ON forwards (destination, writer, row) WHERE state = 0;
    CREATE TRIGGER IF NOT EXISTS spans_subscribed AFTER INSERT ON spans BEGIN
        INSERT INTO forwards (row, destination, writer)
        SELECT new.id, destination, writer FROM subscriptions WHERE writer = new.writer;
    END;
    CREATE TRIGGER IF NOT EXISTS spans_awaited BEFORE DELETE ON spans
    WHEN old.state = 0 AND EXISTS (SELECT 1 FROM forwards WHERE row = old.id AND state != 1) BEGIN
        UPDATE spans SET state = 1 WHERE id = old.id;
        SELECT RAISE(IGNORE);
    END;
    CREATE TRIGGER IF NOT EXISTS spans_gone AFTER DELETE ON spans BEGIN
        UPDATE subscriptions SET evicted = evicted + 1 WHERE writer = old.writer
        AND destination IN (SELECT destination FROM forwards WHERE row = old.id AND state = 0);
        DELETE FROM forwards WHERE row = old.id;
    END;
    CREATE TRIGGER IF NOT EXISTS companions_subscribed AFTER INSERT ON companions BEGIN
        INSERT INTO forwards (row, destination, writer)
        SELECT -new.id, destination, writer FROM subscriptions WHERE writer = new.writer;
    END;
    CREATE TRIGGER IF NOT EXISTS companions_gone AFTER DELETE ON companions BEGIN
        UPDATE subscriptions SET evicted = evicted + 1 WHERE writer = old.writer
        AND destination IN (SELECT destination FROM forwards WHERE row = -old.id AND state = 0);
        DELETE FROM forwards WHERE row = -old.id;
    END;
"""
"""
    destinations   `fingerprint` is that of OtlpDestination, `address` its URL as it may be shown, `capture` what of the
                   contents it may have
    subscriptions  the destinations that a writer's rows are for; `evicted` counts the waiting rows that were removed
    forwards       rows that a destination gets: `state` is WAITING, FORWARDED or REFUSED, and then `reason` says why;
                   `row` is the number of a span, or of a companion with a minus sign
    companions     spans that only destinations get, until each has them; see export/companions.py
"""


def create(db: sqlite3.Connection) -> None:
    """Create the tables inside a transaction, where they are missing."""
    for statement in statements(TABLES):
        db.execute(statement)


def exists(db: sqlite3.Connection) -> bool:
    """Return whether the file has the tables."""
    return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'forwards'").fetchone())


def register(db: sqlite3.Connection, destination: OtlpDestination) -> int:
    """Return the number of *destination* in this file."""
    values = (destination.fingerprint, destination.address, destination.capture)
    db.execute("INSERT OR IGNORE INTO destinations (fingerprint, address, capture) VALUES (?,?,?)", values)
    return int(db.execute("SELECT id FROM destinations WHERE fingerprint = ?", values[:1]).fetchone()[0])

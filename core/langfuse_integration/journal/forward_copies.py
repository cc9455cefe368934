"""What is known of rows for other destinations, when they go from one journal to another: moved, or recovered."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from .forward_tables import create, exists
from .journal import Journal

_DESTINATION = "INSERT OR IGNORE INTO destinations (fingerprint, address, capture) VALUES (?,?,?)"
COMPANIONS = "SELECT id, writer, trace_id, span_id, ended_ns, body FROM companions"
STATES = """
    SELECT spans.trace_id, spans.span_id, destinations.fingerprint, destinations.address, destinations.capture,
    forwards.writer, forwards.state, forwards.reason
    FROM forwards JOIN spans ON spans.id = forwards.row JOIN destinations ON destinations.id = forwards.destination
"""


def carry(source: Journal, db: sqlite3.Connection, last: int) -> None:
    """Copy what is known of the rows of another journal, up to number *last*, to the same rows behind *db*."""
    if not source.query("SELECT 1 FROM sqlite_master WHERE name = 'forwards'"):
        return
    states = source.query(f"{STATES} WHERE forwards.row <= ?", (last,))
    if states:
        create(db)
        put_states(db, states)


def carry_companions(source: Journal, target: Journal) -> None:
    """Move spans that only destinations get to another journal, with what is known of each."""
    if not source.query("SELECT 1 FROM sqlite_master WHERE name = 'companions'"):
        return
    rows = source.query(COMPANIONS)
    states = (
        "SELECT fingerprint, address, capture, forwards.writer, state, reason FROM forwards "
        "JOIN destinations ON destinations.id = forwards.destination WHERE row = ?"
    )
    with target.transaction() as db:
        create(db)
        for number, *values in rows:
            statement = "INSERT INTO companions (writer, trace_id, span_id, ended_ns, body) VALUES (?,?,?,?,?)"
            moved = db.execute(statement, values).lastrowid
            for fingerprint, address, capture, *state in source.query(states, (-number,)):
                db.execute(_DESTINATION, (fingerprint, address, capture))
                db.execute(
                    "INSERT INTO forwards (row, destination, writer, state, reason) "
                    "SELECT ?, id, ?, ?, ? FROM destinations WHERE fingerprint = ? "
                    "ON CONFLICT (row, destination) DO UPDATE SET state = max(state, excluded.state)",
                    (-(moved or 0), *state, fingerprint),
                )
    source.query("DELETE FROM companions")


def put_states(db: sqlite3.Connection, states: Iterable[tuple[Any, ...]]) -> None:
    """Put what STATES reads of another file to the same rows behind *db*; a row that was forwarded stays so."""
    for trace_id, span_id, fingerprint, address, capture, writer, state, reason in states:
        db.execute(_DESTINATION, (fingerprint, address, capture))
        db.execute(
            "INSERT INTO forwards (row, destination, writer, state, reason) "
            "SELECT spans.id, destinations.id, ?, ?, ? FROM spans, destinations "
            "WHERE trace_id = ? AND span_id = ? AND fingerprint = ? "
            "ON CONFLICT (row, destination) DO UPDATE SET state = max(state, excluded.state), reason = excluded.reason",
            (writer, state, reason, trace_id, span_id, fingerprint),
        )


def copy_subscriptions(old: sqlite3.Connection, into: Journal) -> None:
    """Copy destinations and subscriptions of a damaged file, so that its rows wait for them here, too."""
    if not exists(old):
        return
    rows = old.execute(
        "SELECT writer, owner, evicted, fingerprint, address, capture FROM subscriptions "
        "JOIN destinations ON destinations.id = subscriptions.destination"
    ).fetchall()
    with into.transaction() as db:
        create(db)
        for writer, owner, evicted, fingerprint, address, capture in rows:
            db.execute(_DESTINATION, (fingerprint, address, capture))
            db.execute(
                "INSERT OR IGNORE INTO subscriptions (writer, destination, owner, evicted) "
                "SELECT ?, id, ?, ? FROM destinations WHERE fingerprint = ?",
                (writer, owner, evicted, fingerprint),
            )


def copy_states(old: sqlite3.Connection, into: Journal) -> None:
    """Copy what a damaged file knows of rows that have been copied already."""
    if exists(old):
        states = old.execute(f"{STATES} WHERE forwards.state != 0").fetchall()
        with into.transaction() as db:
            put_states(db, states)

"""Moving rows from one journal to another: from memory into the file, and from a replaced file into its successor."""

from __future__ import annotations

from collections.abc import Callable

from .forward_copies import carry, carry_companions
from .journal import Journal

ROWS_PER_TRANSACTION = 256


def move(source: Journal, target: Journal, moved: Callable[[int], object] = lambda count: None) -> None:
    """Move everything from one journal to another.

    Args:
        moved: called after each transaction with the number of its rows that wait for delivery: a later one may fail.
    """
    _move_spans(source, target, moved)
    carry_companions(source, target)
    for table in ("open_spans", "scores", "media", "media_uses"):
        rows = source.query(f"SELECT * FROM {table}")
        if rows:
            if table == "media_uses":  # the target numbers them itself
                rows = [(None, *row[1:]) for row in rows]
            marks = ",".join("?" * len(rows[0]))
            with target.transaction() as db:
                db.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", rows)
            source.query(f"DELETE FROM {table}")


def _move_spans(source: Journal, target: Journal, moved: Callable[[int], object]) -> None:
    exists = "SELECT 1 FROM spans WHERE trace_id = ? AND span_id = ?"
    while rows := source.rows(0, ROWS_PER_TRANSACTION):
        with target.transaction() as db:
            count = target.insert(
                db, [row for _, row in rows if not db.execute(exists, (row.row.trace_id, row.row.span_id)).fetchone()]
            )
            carry(source, db, rows[-1][0])
        moved(count)
        with source.transaction() as db:
            source.remove(db, [number for number, _ in rows])

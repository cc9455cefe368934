"""Recovery of a damaged journal: the file is set aside under another name, and its readable rows are copied."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..encoding.row import Row
from ..recording.ids import new_bits
from . import file_locks, forward_copies
from .bodies import Bodies
from .fork_guard import fork_guard
from .journal import Journal, StoredRow
from .writers import NOBODY, NOWHERE

_CHUNK = 64
_GAP_LIMIT = 100_000


def set_aside(path: Path, inode: int) -> Path | None:
    """Rename the damaged file with this *inode* and its log; return the new path.

    None when another process has renamed it already. Raises OSError.
    """
    with _exclusively(path):
        if not path.exists() or path.stat().st_ino != inode:
            return None
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{new_bits(16):04x}")
        for ending in ("-wal", "-shm", ""):  # the log first: SQLite would take it for the log of the next file
            with suppress(FileNotFoundError):
                Path(f"{path}{ending}").rename(f"{aside}{ending}")
        return aside


def recover(aside: Path, into: Journal) -> int:
    """Copy the readable rows of the file *aside* into a journal; return how many observations that were."""
    with fork_guard.opening:
        try:
            old = sqlite3.connect(aside, isolation_level=None)
            old.text_factory = lambda text: text.decode("utf-8", "replace")
        except sqlite3.Error:
            return 0
        try:
            for table in ("writers", "open_spans", "scores", "media", "media_uses", "erasures"):
                _copy(old, into, table)
            with suppress(sqlite3.Error):
                forward_copies.copy_subscriptions(old, into)
            count = _copy_spans(old, into)
            with suppress(sqlite3.Error):
                forward_copies.copy_states(old, into)
            return count
        finally:
            old.close()


@contextmanager
def _exclusively(path: Path) -> Generator[None]:
    """Let one process at a time rename the file."""
    descriptor = file_locks.open_file(path.with_name(path.name + "-recovery"))
    try:
        file_locks.wait(descriptor)
        yield
    finally:
        os.close(descriptor)


def _copy(old: sqlite3.Connection, into: Journal, table: str) -> None:
    names = _shared(old, into, table)
    if not names:
        return
    statement = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({','.join('?' * len(names))})"
    with suppress(sqlite3.Error):
        cursor = old.execute(f"SELECT {', '.join(names)} FROM {table}")
        while rows := cursor.fetchmany(_CHUNK):
            with into.transaction() as db:
                db.executemany(statement, rows)


def _copy_spans(old: sqlite3.Connection, into: Journal) -> int:
    names = _shared(old, into, "spans")
    if not {*Row._fields, "id", "writer", "state", "reason"} <= set(names):
        return 0
    columns = ", ".join((*Row._fields, "writer", "state", "reason"))
    pieces = "pieces" if "pieces" in names else "NULL"
    bodies = Bodies(old)
    count = 0
    for values_of_rows in _readable(old, f"SELECT id, {pieces}, {columns} FROM spans"):
        rows = [row for row in (_row_of(bodies, values) for values in values_of_rows) if row is not None]
        with into.transaction() as db:
            into.insert(db, rows)
        count += len(rows)
    unknown = new_bits(63)
    with into.transaction() as db:  # the project of such rows is unknown: only `push` delivers them
        values = (unknown,)
        if db.execute("UPDATE spans SET writer = ? WHERE writer NOT IN (SELECT id FROM writers)", values).rowcount:
            row = (unknown, NOBODY, NOWHERE, 0, time.time_ns())
            db.execute("INSERT INTO writers (id, owner, destination, pid, since_ns) VALUES (?,?,?,?,?)", row)
    return count


def _row_of(bodies: Bodies, values: Sequence[Any]) -> StoredRow | None:
    """Return a row with its whole body, or None if that cannot be read."""
    try:
        row = StoredRow.of(bodies, values[1], values[2:])
    except (sqlite3.Error, TypeError, ValueError):
        return None
    return row if _is_whole(row.row.body) else None


def _is_whole(body: object) -> bool:
    """Return whether a row's body is a readable OTLP request with one span."""
    try:
        request = ExportTraceServiceRequest.FromString(body)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return len(request.resource_spans[0].scope_spans[0].spans) == 1
    except (DecodeError, TypeError, IndexError):
        return False


def _shared(old: sqlite3.Connection, into: Journal, table: str) -> list[str]:
    """Return the columns of *table* that both files have."""
    statement = f"SELECT name FROM pragma_table_info('{table}')"
    try:
        names = {row[0] for row in old.execute(statement)}
    except sqlite3.Error:
        return []
    return [row[0] for row in into.query(statement) if row[0] in names]


def _readable(old: sqlite3.Connection, select: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield readable rows: from the front, from the back, and one by one between."""
    front = back = 0
    with suppress(sqlite3.Error):
        while rows := old.execute(f"{select} WHERE id > ? ORDER BY id LIMIT {_CHUNK}", (front,)).fetchall():
            yield rows
            front = rows[-1][0]
        return
    last_rows: list[tuple[Any, ...]] = []
    with suppress(sqlite3.Error):
        back = 2**63 - 1
        statement = f"{select} WHERE id > ? AND id < ? ORDER BY id DESC LIMIT {_CHUNK}"
        while rows := old.execute(statement, (front, back)).fetchall():
            last_rows += rows
            back = rows[-1][0]
    if not last_rows:
        back = front + 2 * _CHUNK
    for number in range(front + 1, min(back, front + _GAP_LIMIT)):
        with suppress(sqlite3.Error):
            if rows := old.execute(f"{select} WHERE id = ?", (number,)).fetchall():
                yield rows
    if last_rows:
        yield last_rows[::-1]

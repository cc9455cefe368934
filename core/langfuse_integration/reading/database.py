"""The journal's file, open for reading."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import JournalTooNew, JournalUnreadable
from ..internals import forks
from ..internals.free_threading import FREE_THREADED
from ..journal.bodies import Bodies
from ..journal.deflating import ORIGIN
from ..journal.fork_guard import fork_guard
from ..journal.schema import SCHEMA, schema_version
from .replay import Observed
from .search import holds, may_hold

OPENED_AGAIN = 1 << 32
"""What the version of a file grows by each time it is opened."""
STREAM_S = 0.5
"""How long a fork waits at most for queries that read from a file; the forking thread may have stopped within one."""
POLL_S = 0.005


class JournalFile:
    """A journal file, read-only. It may not exist yet, and other processes may write to it or replace it.

    It is closed while this process forks, so that a child can trust SQLite's locks: see fork_guard.py. In its queries
    `holds(body, text)` tells whether a text occurs in an observation.

    Attributes:
        path: the file, or None when the journal is switched off.
        identity: device and number of the file, or None when there is none.

    Raises:
        JournalTooNew: the file was written by a newer release.
        JournalUnreadable: it is no journal, or may not be read.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.identity = _identity(path)
        self._lock = forks.Lock()
        self._streams = 0
        self._opened_times = 0
        self._paused = False
        self._is_closed = False
        self._db: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection | None] = []
        self._open()
        fork_guard.add(self)

    @property
    def version(self) -> int:
        """Changes with every write of another connection."""
        rows = self.query("PRAGMA data_version")
        return int(rows[0][0]) + self._opened_times * OPENED_AGAIN if rows else -1

    def query(self, sql: str, values: dict[str, Any] | None = None) -> list[Any]:
        """Return what a reading query finds; nothing where there is no file."""
        return list(self.stream(sql, values))

    def stream(self, sql: str, values: dict[str, Any] | None = None) -> Iterator[Any]:
        """Yield what a reading query finds, one row at a time."""
        self._begin_stream()
        try:
            if self._db is not None:
                yield from self._db.execute(sql, values or {})
        except sqlite3.Error as error:
            raise JournalUnreadable(str(self.path), str(error)) from error
        finally:
            with self._lock:
                self._streams -= 1

    def bodies_where(self, where: str, values: dict[str, Any]) -> Iterator[bytes]:
        """Yield the OTLP requests of the rows that a condition selects, in the order in which they were written.

        A body of SQLite's is copied three times on its way through a query; these are not.
        """
        sql = f"SELECT stored_body, pieces, origin FROM spans WHERE {where} ORDER BY id"
        for row in self.stream(sql, values):  # while it is read, the parts of its rows are those of the same moment
            yield self._bodies.readable(*row)

    def _open(self) -> None:
        self._paused = self._is_closed = False
        self._opened_times += 1
        with fork_guard.opening:
            self._db = _opened(self.path)
        if self._db is not None:
            self._schema = schema_version(self._db)
            self._bodies = Bodies(self._db)
            _show_whole(self._db, self._bodies)

    @property
    def tables(self) -> set[str]:
        """The names of the tables; a journal of an older release may lack some."""
        return {row[0] for row in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def columns_of(self, table: str) -> set[str]:
        """Return the names of a table's columns; a journal of an older release may lack some."""
        return {row[0] for row in self.query("SELECT name FROM pragma_table_info(:table)", {"table": table})}

    def refresh(self) -> None:
        """Reopen the file if it was created, replaced, or migrated by a process of a newer release."""
        now = _identity(self.path)
        self._continue()
        is_migrated = self._db is not None and schema_version(self._db) != self._schema
        if now is not None and (self._db is None or now != self.identity or is_migrated):
            self.close()
            self.identity = now
            self._open()

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        if self._db is not None:
            self._db.close()

    # -- while this process is forked

    def pause(self, wait_s: float) -> bool:
        """Close the file once no query reads from it, and keep it closed; False if that takes too long."""
        deadline = time.monotonic() + min(wait_s, STREAM_S)
        while self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            if not self._streams:
                if self._db is not None and not self._is_closed:
                    self._db.close()
                    self._db, self._paused = None, True
                return True
            self._lock.release()
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        return False

    def resume(self) -> None:
        """Continue after a `pause`."""
        self._lock.release()

    def inherited(self) -> None:
        """In a forked child: never use the connection of the parent process."""
        self._inherited.append(self._db)  # no garbage collection closes it
        self._db, self._streams, self._paused = None, 0, not self._is_closed

    def _continue(self) -> None:
        if self._paused:
            with fork_guard.opening, self._lock:  # a fork takes them in this order
                if self._paused:
                    self._open()

    def _begin_stream(self) -> None:
        while True:
            self._continue()
            with self._lock:
                if not self._paused:
                    self._streams += 1
                    return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status is not None else None


def _opened(path: Path | None) -> sqlite3.Connection | None:
    if path is None or not path.exists():
        return None
    db: sqlite3.Connection | None = None
    try:
        # A thread that forks closes the file; see schema.py on free-threaded Pythons.
        uri, cached = f"{path.resolve().as_uri()}?mode=ro", 0 if FREE_THREADED else 128
        db = sqlite3.connect(
            uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=cached
        )
        version = schema_version(db)
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        if db is not None:
            db.close()
        raise JournalUnreadable(str(path), str(error)) from error
    if version > SCHEMA:
        db.close()
        raise JournalTooNew(str(path), version, SCHEMA)
    if "spans" not in tables:
        db.close()
        return None
    db.create_function("holds", 2, _body_holds, deterministic=True)
    return db


def _show_whole(db: sqlite3.Connection, bodies: Bodies) -> None:
    """Have queries of this connection find whole bodies in `spans`, whose large texts lie elsewhere in the file."""
    columns = [row[1] for row in db.execute("PRAGMA main.table_info(spans)")]
    body, origin = "body", "NULL AS pieces, NULL AS origin"
    if "pieces" in columns:  # written by this release
        db.create_function("whole", 3, bodies.readable, deterministic=True)
        body = f"CASE WHEN pieces IS NULL THEN body ELSE whole(body, pieces, {ORIGIN}) END"
        origin = f"pieces, CASE WHEN pieces IS NOT NULL THEN {ORIGIN} END AS origin"
    others = ", ".join(name for name in columns if name not in ("body", "pieces", "size_bytes"))
    db.execute(
        f"CREATE TEMP VIEW spans AS SELECT {others}, length(body) AS stored_bytes, {body} AS body, "
        f"body AS stored_body, {origin} FROM main.spans"
    )


def _body_holds(body: bytes, text: str) -> bool:
    return may_hold(body, text) and any(holds(observation, text) for observation in Observed.decoded(body))

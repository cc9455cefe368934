"""Contention: a journal's file is locked while another process, or another thread, writes it.

SQLite itself waits for a lock in steps of up to 100 ms, during which others come first. So it waits for POLL_MS only,
and who writes tries again, with the journal's own lock released in between.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

POLL_MS = 1
"""How long SQLite waits for a lock by itself: it looks at once and after 1 ms."""
PAUSE_S = 0.001
PATIENCE = 10
LONGEST_PAUSE_S = 0.025
"""Between two tries: a tenth of the wait so far, up to the longest: many processes that look all the time would take
the processor from the one that writes."""
STANDSTILL_S = 2.0
"""How long to wait for a lock while nobody commits; a transaction takes a few milliseconds."""
CONTENTION_S = 30.0
"""How long to wait while other processes commit their transactions: among many processes it can be seconds."""

P = ParamSpec("P")
T = TypeVar("T")


class Contention:
    """One wait for the file's lock, as long as it makes sense."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._standstill = self._since + STANDSTILL_S
        self._version: int | None = None

    def begin(self, db: sqlite3.Connection) -> bool:
        """Begin a transaction that writes; return False if the file is locked, to be tried again.

        Raises:
            sqlite3.OperationalError: it has been locked for too long, or cannot be used.
        """
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            now = time.monotonic()
            version = _version(db)
            if version != self._version:
                self._version, self._standstill = version, now + STANDSTILL_S
            if now > min(self._standstill, self._since + CONTENTION_S):
                raise
            return False
        return True

    def pause(self) -> None:
        """Sleep until the next try."""
        time.sleep(min(max((time.monotonic() - self._since) / PATIENCE, PAUSE_S), LONGEST_PAUSE_S))


def patient(read: Callable[P, T]) -> Callable[P, T]:
    """Return *read*, which is called again while the file is locked; it must leave no transaction open."""

    @functools.wraps(read)
    def read_patiently(*values: P.args, **options: P.kwargs) -> T:
        deadline = time.monotonic() + STANDSTILL_S
        while True:
            try:
                return read(*values, **options)
            except sqlite3.OperationalError as error:
                if not is_locked(error) or time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_S)

    return read_patiently


def is_locked(error: sqlite3.OperationalError) -> bool:
    """Return whether an error says that the file is locked."""
    return "locked" in str(error)


def is_read_error(error: sqlite3.OperationalError) -> bool:
    """Return whether an error says that the system could not read or write the file."""
    return "I/O error" in str(error)


def _version(db: sqlite3.Connection) -> int | None:
    """Return a number that changes when another process commits; None if it cannot be read now."""
    try:
        return int(db.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.OperationalError:
        return None

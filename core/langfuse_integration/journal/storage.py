"""The storage of one writer: the journal's file, and while that fails, memory.

The file is tried again, less and less often, and rows that had to stay in memory move into it once it works.

More than 300 lines: falling back to memory and moving back is one state machine.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence

from ..encoding.row import Row
from ..encoding.shared_text import Rope
from ..errors import JournalTooNew
from ..internals import forks
from ..internals.faults import logger, warn_once
from ..settings import Settings
from .backend import StorageBackend, WriteBatch
from .contention import is_locked
from .cures import cure_of, warn_of_readers
from .damage import is_damage
from .moving import move

RETRY_S = (1.0, 30.0)
ENDED_LIMIT = 20_000
"""Span ids to be removed from the file's open ones once it works; ids beyond the limit are dropped."""
RETENTION_S = 1.0
"""Seconds between two retention checks, unless much is written meanwhile."""
RETENTION_SHARE = 16
"""The share of the size limit after whose writing retention is checked."""
LEAST_RETENTION_BYTES = 256 * 1024
_FAILURES = (sqlite3.Error, OSError, JournalTooNew)


class Storage:
    """The file and the memory of one writer.

    Args:
        me: this writer's random number.
        on_moved: called with the number of rows that moved from memory into the file.

    Attributes:
        moving: held by whoever sends to Langfuse from a backend or moves its rows: a row is sent from one backend only.
        settling: held by whoever moves rows, or reads or settles those for other destinations; never while sending.
    """

    def __init__(self, settings: Settings, me: int, on_moved: Callable[[int], None]) -> None:
        self._settings = settings
        self._me = me
        self._on_moved = on_moved
        self._path = settings.journal_path
        self._file: StorageBackend | None = None
        self._memory: StorageBackend | None = None
        self._failing = False
        self._lock_error: sqlite3.OperationalError | None = None
        self._has_said_lost = False
        self._retry_at = 0.0
        self._retry_s = RETRY_S[0]
        self._ended: list[str] = []
        self._damage: tuple[StorageBackend, Exception] | None = None
        self._retention_at = 0.0
        self._retention_bytes = max(settings.journal_max_bytes // RETENTION_SHARE, LEAST_RETENTION_BYTES)
        self._written_bytes = 0
        self._evicted = {"journal full": 0, "memory full": 0}
        self.moving = forks.Lock()
        self.settling = forks.Lock()

    # -- writing

    def open(self) -> None:
        """Open the file, so that the first batch need not wait for it."""
        self._usable_file()

    def store(self, batch: WriteBatch) -> int:
        """Write a batch; return how many of its rows are in the file now.

        Raises:
            ValueError: SQLite refuses a row in any file; nothing of the batch is written then.
        """
        self._handle_damage()
        ended = [*self._ended, *batch.ended]
        if self._write(lambda backend: backend.write(self._me, batch._replace(ended=ended))):
            self._ended = []
            stored = len(batch.rows)
        else:
            self._in_memory().write(self._me, batch)
            self._ended = ended[:ENDED_LIMIT]  # after the rows: see note_delivered
            stored = 0
        if self._memory is not None and not self._failing:
            self._empty_memory()
        return stored

    def accompany(self, rows: Sequence[Row]) -> None:
        """Write spans that only other destinations get."""
        if rows and not self._write(lambda backend: _accompany(backend, self._me, rows)):
            _accompany(self._in_memory(), self._me, rows)

    def hand_over(self) -> None:
        """Mark this writer's rows as delivered: Langfuse gets them another way, and only destinations wait for them."""
        for backend in self.backends():
            if backend.forwarding is not None:
                try:
                    backend.forwarding.hand_over(keep=self._settings.keep_delivered)
                except _FAILURES as error:
                    self._note_failure(error)

    def parts(self, batch: WriteBatch) -> Iterator[WriteBatch]:
        """Yield a batch in parts that are small against the journal, and make room between them."""
        rows: list[Row] = []
        media = list(batch.media)
        for row in batch.rows:
            size_bytes = row.body.new_bytes if isinstance(row.body, Rope) else len(row.body)
            if rows and self._written_bytes + size_bytes > self._retention_bytes:
                span_ids = {each.span_id for each in rows} if media else set[str]()
                yield WriteBatch(rows, media=[medium for medium in media if medium.span_id in span_ids])
                media = [medium for medium in media if medium.span_id not in span_ids]
                self.tidy(full=True)
                rows = []
            rows.append(row)
            self._written_bytes += size_bytes
        yield batch._replace(rows=rows, media=media)

    def end_dead(self) -> None:
        """End the open observations of dead processes; a writer that sends adopts their rows."""
        for backend in self.backends():
            try:
                backend.writers.adopt()
            except _FAILURES as error:
                self._note_failure(error)

    def end_open(self) -> None:
        """End this writer's open observations: its process ends."""
        for backend in self.backends():
            try:
                if backend is self._file:
                    self._remove_ended(backend)
                backend.writers.end_open()
            except _FAILURES as error:
                self._note_failure(error)

    def note_delivered(self) -> None:
        """Note, on the sender's thread, that rows were delivered from memory: those open in the file have ended."""
        ended, memory, file = self._ended, self._memory, self._file
        if ended and memory is not None and file is not None:
            waiting = {row[0] for row in memory.journal.query("SELECT span_id FROM spans WHERE state = 0")}
            file.writers.list_ended(span_id for span_id in ended if span_id not in waiting)

    def tidy(self, *, idle: bool = False, full: bool = False) -> None:
        """Apply the retention, and move rows from memory into the file; called after each batch.

        Args:
            idle: nothing else is to be done: unused room is given back, too.
            full: as much was written as may be before the size is looked at.
        """
        self._handle_damage()
        if self._memory is not None and self._usable_file() is not None:
            self._empty_memory()
        now = time.monotonic()
        if not (idle or full) and self._memory is None and now - self._retention_at < RETENTION_S:
            return
        self._retention_at, self._written_bytes = now, 0
        for backend in self.backends():
            try:
                done = backend.retention.apply()
                if idle and done:
                    backend.retention.give_back()
                self._evicted["memory full" if backend.in_memory else "journal full"] += backend.newly_evicted()
            except _FAILURES as error:
                if backend is self._file:
                    self._note_failure(error)

    # -- reading

    def backends(self) -> list[StorageBackend]:
        """Return the backends that may hold rows."""
        return [backend for backend in (self._file, self._memory) if backend is not None]

    def evicted(self) -> dict[str, int]:
        """Return how many of this writer's rows retention removed, by reason."""
        return {reason: count for reason, count in self._evicted.items() if count}

    def in_memory(self) -> int:
        """Return how many rows wait in memory."""
        return self._memory.journal.pending() if self._memory is not None else 0

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until the file is to be tried again; None when nothing waits in memory."""
        if self._memory is None or self._path is None:
            return None
        return max(self._retry_at - time.monotonic(), 0.05)

    def close(self) -> None:
        """Leave everything to other writers."""
        self._retry_at = 0.0
        if self._memory is not None and self._usable_file() is not None:
            self._empty_memory()
        self.say_lost()
        for backend in self.backends():
            try:
                backend.close()
            except _FAILURES as error:
                self._note_failure(error)
        self._file = self._memory = None

    def say_lost(self) -> None:
        """Warn once of the rows that are in memory only, at the end of the process."""
        count = self.in_memory()
        if not count or self._has_said_lost:
            return
        self._has_said_lost = True
        cure = "set LANGFUSE_INTEGRATION_JOURNAL to a file that can be written, where they wait for the next process"
        if self._lock_error:
            cure = f"the journal {self._path} is locked. {cure_of(self._lock_error)}"
        logger().warning("%d observations were in memory only, and are lost: %s", count, cure)

    # -- the file

    def note_damage(self, backend: StorageBackend, error: Exception) -> bool:
        """Note, on the sender's thread, an error that says the file is damaged; the worker recovers it later.

        Returns:
            Whether the error says so.
        """
        if not is_damage(error):
            return False
        self._damage = backend, error
        return True

    def _handle_damage(self) -> None:
        damage, self._damage = self._damage, None
        if damage is not None and self._file is damage[0]:  # else the worker has recovered that file itself
            self._note_failure(damage[1])

    def _write(self, write: Callable[[StorageBackend], None]) -> bool:
        """Write into the file; return False when it cannot be used."""
        backend = self._usable_file()
        if backend is None:
            return False
        try:
            write(backend)
        except _FAILURES as error:
            if isinstance(error, (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError)):
                raise ValueError(str(error)) from error
            self._note_failure(error)
            return False
        backend.writers.touch()
        if self._failing:
            self._failing = False
            self._retry_s = RETRY_S[0]
            logger().info("The journal %s can be written again", self._path)
        return True

    def _usable_file(self) -> StorageBackend | None:
        """Return the file's backend, opened if need be; None while the file fails and no retry is due."""
        if self._path is None or (self._failing and time.monotonic() < self._retry_at):
            return None
        if self._file is not None and self._file.journal.replaced():
            self._leave_replaced()
        if self._file is None:
            inode = self._inode()
            try:
                self._file = StorageBackend(self._settings, self._path, self._me)
                warn_of_readers(self._path)
            except _FAILURES as error:
                if inode and is_damage(error) and self._recovered(inode, error):
                    return self._file
                self._note_failure(error)
        return self._file

    def _note_failure(self, error: Exception) -> None:
        """Recover a damaged file; for any other failure keep rows in memory until the next try."""
        backend = self._file
        if backend is not None and is_damage(error) and self._recovered(backend.journal.inode, error):
            return
        self._failing = True
        self._lock_error = error if isinstance(error, sqlite3.OperationalError) and is_locked(error) else None
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_S[1])
        warn_once(
            "journal",
            "The journal %s cannot be used (%s): observations are kept in memory until it can. %s",
            self._path,
            error,
            cure_of(error),
        )

    def _recovered(self, inode: int, error: Exception) -> bool:
        """Set a damaged file aside, and open a new one with its readable rows; False when that fails too."""
        from .recovery import recover, set_aside  # protobuf: the first rows of a process would wait for it

        assert self._path is not None
        with self.moving, self.settling:
            try:
                aside = set_aside(self._path, inode)
                if self._file is not None:
                    self._file.journal.close()
                    self._file = None
                self._file = StorageBackend(self._settings, self._path, self._me)
                if aside is not None:
                    count = recover(aside, self._file.journal)
                    logger().warning(
                        "The journal %s is damaged (%s): it is kept as %s, and %d observations could be read from it",
                        self._path, error, aside.name, count,
                    )  # fmt: skip
            except _FAILURES:
                return False
        return True

    def _leave_replaced(self) -> None:
        """Open the file that has replaced the open one, and move the rows of the old one into it."""
        replaced = self._file
        if replaced is None or not self.moving.acquire(timeout=0.05):
            return
        try:
            with self.settling:
                self._file = StorageBackend(self._settings, self._path, self._me)
                move(replaced.journal, self._file.journal)
        except _FAILURES as error:
            self._file = None
            self._note_failure(error)
        finally:
            replaced.journal.abandon()
            self.moving.release()

    def _inode(self) -> int:
        try:
            return self._path.stat().st_ino if self._path is not None else 0
        except OSError:
            return 0

    # -- memory

    def _in_memory(self) -> StorageBackend:
        if self._memory is None:
            self._memory = StorageBackend(self._settings, None, self._me)
        return self._memory

    def _remove_ended(self, file: StorageBackend) -> None:
        """Remove from the file's open spans those that ended while it could not be written."""
        if self._ended:
            file.journal.append(self._me, (), (), self._ended)
            self._ended = []

    def _empty_memory(self) -> None:
        """Move rows from memory into the file, unless they are being sent just now."""
        memory, file = self._memory, self._file
        if memory is None or file is None or not self.moving.acquire(blocking=False):
            return
        try:
            with self.settling:
                move(memory.journal, file.journal, self._on_moved)
                self._remove_ended(file)
                self._memory = None
                memory.journal.close()
        except _FAILURES as error:
            self._note_failure(error)
        finally:
            self.moving.release()


def _accompany(backend: StorageBackend, me: int, rows: Sequence[Row]) -> None:
    if backend.forwarding is not None:
        backend.forwarding.accompany(me, rows)

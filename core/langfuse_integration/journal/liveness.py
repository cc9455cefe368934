"""Liveness: each writer of a journal holds a file lock, which the system releases when its process dies.

Process ids would not do: they are reused, and differ between containers that share a volume.

The lock file also lists spans that are open in the journal although they have ended: the journal could not be written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from ..internals import forks
from . import file_locks

_ID_BYTES = 8
_RESERVED_BYTES = 4096
"""Room for span ids that each lock file takes from the start: a full disk has none later."""

_descriptors: dict[str, int] = {}
"""File descriptors of the locks that this process holds, by lock file."""


class Liveness:
    """The lock files of one journal's writers, in a directory beside it.

    Args:
        journal: the journal's file, or None for one in memory, whose only writer is this process.
    """

    def __init__(self, journal: Path | None) -> None:
        self._folder = journal.with_name(journal.name + "-writers") if journal is not None else None

    def lock(self, writer: int) -> None:
        """Take the lock of *writer*, of this process. Raises OSError when the directory cannot be written."""
        if self._folder is None or str(self._file(writer)) in _descriptors:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = self._file(writer)
        descriptor = file_locks.open_file(file)
        file_locks.take(descriptor)
        with suppress(OSError):
            os.write(descriptor, bytes(_RESERVED_BYTES))
        _descriptors[str(file)] = descriptor

    def touch(self, writer: int) -> None:
        """Record that *writer*, of this process, is alive now."""
        if self._folder is not None and (descriptor := _descriptors.get(str(self._file(writer)))) is not None:
            now_ns = time.time_ns()  # the file system's clock is milliseconds behind
            with suppress(OSError):
                os.utime(descriptor if os.utime in os.supports_fd else self._file(writer), ns=(now_ns, now_ns))

    def list_ended(self, writer: int, span_ids: Iterable[str]) -> None:
        """List spans that have ended and were delivered, but are still open in the journal; replaces the list.

        Args:
            writer: a writer of this process.
        """
        if self._folder is None or (descriptor := _descriptors.get(str(self._file(writer)))) is None:
            return
        listed = b"".join(map(bytes.fromhex, span_ids)) + bytes(_ID_BYTES)
        with suppress(OSError):
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, listed[:_RESERVED_BYTES])  # what is overwritten needs no room on the disk
            os.write(descriptor, listed[_RESERVED_BYTES:])

    def ended(self, writer: int) -> set[str]:
        """Return the ids of the spans that *writer* has listed as ended."""
        try:
            listed = self._file(writer).read_bytes() if self._folder is not None else b""
        except OSError:
            return set()
        span_ids = (listed[start : start + _ID_BYTES] for start in range(0, len(listed), _ID_BYTES))
        return {span_id.hex() for span_id in takewhile(any, span_ids)}

    def last_alive_ns(self, writer: int) -> int:
        """Return when *writer* was last recorded as alive, in nanoseconds since 1970; 0 when unknown."""
        try:
            return self._file(writer).stat().st_mtime_ns if self._folder is not None else 0
        except OSError:
            return 0

    def unlock(self, writer: int) -> None:
        """Release the lock of *writer*, of this process."""
        if self._folder is None:
            return
        descriptor = _descriptors.pop(str(self._file(writer)), None)
        if descriptor is not None:
            os.close(descriptor)
            self.remove([writer])

    def is_alive(self, writer: int) -> bool:
        """Return whether the process of *writer* is alive; True when unknown."""
        if self._folder is None:
            return True
        file = self._file(writer)
        if str(file) in _descriptors:
            return True
        try:
            return file_locks.is_taken(file)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def remove(self, writers: Iterable[int]) -> None:
        """Remove the lock files of dead writers."""
        for writer in writers if self._folder is not None else ():
            with suppress(OSError):
                self._file(writer).unlink()

    def _file(self, writer: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{writer:016x}"


def _close_in_child() -> None:
    """Close the child's copies: a lock of the parent is held as long as any copy of its descriptor is open."""
    for descriptor in _descriptors.values():
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


forks.in_child(_close_in_child)

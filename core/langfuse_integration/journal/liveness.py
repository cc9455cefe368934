"""Which writers of a journal still live: each holds a lock that the system lets go of when the process dies.

A process id would not tell: it is given again, and means something else in another container on the same volume.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..internals import forks

if sys.platform != "win32":
    import fcntl

_held: dict[str, int] = {}
"""File descriptors of this process by lock file."""


class Liveness:
    """The lock files of one journal's writers, in a directory beside it.

    Args:
        journal: the journal's file, or None for one in memory, whose only writer is this process.
    """

    def __init__(self, journal: Path | None) -> None:
        self._folder = journal.with_name(journal.name + "-writers") if journal is not None else None

    def begin(self, writer: int) -> None:
        """Show that *writer*, of this process, lives. Raises OSError when the directory cannot be written."""
        if self._folder is None or str(self._file(writer)) in _held:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = self._file(writer)
        descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
        if sys.platform != "win32":
            # Not fcntl's own record locks: these a process holds as a whole, and loses when it closes any descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _held[str(file)] = descriptor

    def beat(self, writer: int) -> None:
        """Note that *writer*, of this process, lives now."""
        if self._folder is not None and (descriptor := _held.get(str(self._file(writer)))) is not None:
            now_ns = time.time_ns()  # the file system's own clock is milliseconds behind
            with suppress(OSError):
                os.utime(descriptor if os.utime in os.supports_fd else self._file(writer), ns=(now_ns, now_ns))

    def last_ns(self, writer: int) -> int:
        """Return when *writer* was last noted to live, in nanoseconds since 1970; 0 when that cannot be told."""
        try:
            return self._file(writer).stat().st_mtime_ns if self._folder is not None else 0
        except OSError:
            return 0

    def end(self, writer: int) -> None:
        """Show that *writer*, of this process, has ended."""
        if self._folder is None:
            return
        descriptor = _held.pop(str(self._file(writer)), None)
        if descriptor is not None:
            os.close(descriptor)
            self.forget([writer])

    def beats(self, writer: int) -> bool:
        """Return whether the process of *writer* lives; when that cannot be told it does."""
        if self._folder is None:
            return True
        file = self._file(writer)
        if str(file) in _held:
            return True
        try:
            return self._locked(file)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def forget(self, writers: Iterable[int]) -> None:
        """Remove what dead writers left."""
        for writer in writers if self._folder is not None else ():
            with suppress(OSError):
                self._file(writer).unlink()

    def _file(self, writer: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{writer:016x}"

    @staticmethod
    def _locked(file: Path) -> bool:
        if sys.platform == "win32":
            file.unlink()  # an open file cannot be removed there, which tells the same: PermissionError, an OSError
            return False
        descriptor = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _forked() -> None:
    """Close the child's copies: a lock lives as long as any copy of its descriptor, and this one is the parent's."""
    for descriptor in _held.values():
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


forks.in_child(_forked)

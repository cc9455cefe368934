"""Locks on files: the system releases them when their process dies, however it dies.

On POSIX they are those of flock, not fcntl's record locks: a process loses those when it closes any descriptor of the
file. Windows locks a file as long as it is open: others cannot remove or rename it meanwhile.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def open_file(file: Path) -> int:
    """Return a descriptor of *file*, readable by this user only, for bytes; the file is created if need be."""
    # Without O_BINARY (Windows only) each byte 10 would be written as the two bytes of a line's end there.
    return os.open(file, os.O_CREAT | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)


def take(descriptor: int) -> None:
    """Lock the file of *descriptor*; raises BlockingIOError where another descriptor has locked it."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait(descriptor: int) -> None:
    """Lock the file of *descriptor* as soon as no other descriptor has; Windows locks nothing more, and waits not."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_taken(file: Path) -> bool:
    """Return whether a process has locked *file*; on Windows a file that is not locked is removed.

    Raises FileNotFoundError without the file, another OSError where it cannot be told; on Windows PermissionError, also
    where it is locked.
    """
    if sys.platform == "win32":
        file.unlink()
        return False
    descriptor = os.open(file, os.O_RDWR)
    try:
        take(descriptor)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False

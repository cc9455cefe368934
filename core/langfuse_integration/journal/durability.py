"""Durability: what waits until it is on the disk, so that it survives a power cut.

On macOS, fsync only hands data to the drive, which may keep it in its cache; F_FULLFSYNC waits for the drive.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PRAGMAS = "PRAGMA synchronous=FULL; PRAGMA fullfsync=1; PRAGMA checkpoint_fullfsync=1;"
"""What makes SQLite wait for the disk with each transaction; the last two have an effect on macOS only."""


def make_directory(directory: Path, *, durable: bool) -> None:
    """Create a directory and those above it, for this user only.

    Args:
        durable: whether new ones are there after a power cut; SQLite sees to that for its files only.
    """
    missing = [each for each in (directory, *directory.parents) if not each.exists()] if durable else []
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in missing if sys.platform != "win32" else ():  # Windows opens no directories
        descriptor = os.open(each.parent, os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:  # a file system without it, such as a network's
            pass
    os.fsync(descriptor)

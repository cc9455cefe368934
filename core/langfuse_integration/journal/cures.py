"""Cures: what a user does about a journal's file that cannot be used, or that others can read."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
from pathlib import Path

from ..errors import JournalTooNew
from ..internals.faults import warn_once

_ELSEWHERE = "or set LANGFUSE_INTEGRATION_JOURNAL to another file"
_WRITABLE = f"Let the user of this process (uid {{uid}}) write there, {_ELSEWHERE}"
_ROOM = f"Make room on its disk or raise the quota, {_ELSEWHERE}"
_OF_SYSTEM = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
}
_OF_SQLITE = {
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_FULL: _ROOM,
    sqlite3.SQLITE_IOERR: f"Check that its disk is local, whole and has room, {_ELSEWHERE}",
    sqlite3.SQLITE_BUSY: f"Find the process that holds it locked, {_ELSEWHERE}",
}
"""By SQLite's primary result code."""


def cure_of(error: Exception) -> str:
    """Return a sentence that says what to do about an error of the journal's file."""
    if isinstance(error, JournalTooNew):  # its message says it
        return ""
    if isinstance(error, sqlite3.Error):
        cure = _OF_SQLITE.get((getattr(error, "sqlite_errorcode", None) or 0) & 0xFF)
    else:
        cure = _OF_SYSTEM.get(getattr(error, "errno", None) or 0)
    uid = os.getuid() if hasattr(os, "getuid") else "?"
    return (cure or f"Look at the file, {_ELSEWHERE}").format(uid=uid)


def warn_of_readers(path: Path) -> None:
    """Warn when other users of this machine can read or write the journal's file."""
    if os.name != "posix":
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        warn_once(
            f"readers {path}",
            "The journal %s can be read or written by other users of this machine (mode %o): chmod 600 %s",
            path,
            mode,
            shlex.quote(str(path)),
        )

"""Damage: which errors say that the journal's file itself is unusable."""

from __future__ import annotations

import sqlite3

from .bodies import BrokenChain
from .schema import NoJournal

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: BaseException) -> bool:
    """Return whether *error* says that the file itself is unusable, not that the disk is full or the file locked."""
    if isinstance(error, (NoJournal, BrokenChain)):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF in _DAMAGE

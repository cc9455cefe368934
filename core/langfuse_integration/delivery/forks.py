"""Closes every journal while this process is forked.

SQLite's file locks are not inherited, but the child's copy of the library believes that it holds them: a file that
stays open meanwhile would be corrupted from there (sqlite.org/howtocorrupt.html, 2.6). The parent opens it again when
it next needs it; the child has a journal of its own, on the same file.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .journal import Journal

WAIT_S = 2.0
"""How long a fork may wait for a transaction to end."""
journals: weakref.WeakSet[Journal] = weakref.WeakSet()
"""The open ones of this process."""
unusable: set[Path] = set()
"""Files that were open all the same when this process was forked."""
_paused: list[Journal] = []
_missed: list[Journal] = []


def _before() -> None:
    _paused.clear()
    _missed.clear()
    for journal in list(journals):
        (_paused if journal.pause(WAIT_S) else _missed).append(journal)


def _in_parent() -> None:
    for journal in _paused:
        journal.resume()
    _paused.clear()
    _missed.clear()


def _in_child() -> None:
    unusable.update(journal.path.absolute() for journal in _missed if journal.path is not None)
    for journal in (*_paused, *_missed):
        journal.inherited()
    _paused.clear()
    _missed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)

"""Brings this process through a fork: both go on, and nothing of the parent's is used or closed in the child.

- Threads that load modules of ours finish that first: a child would keep half a module, and its lock, for ever.
- Every journal is closed meanwhile. SQLite's file locks are not inherited, but the child's copy of the library believes
  that it holds them: a file that stays open would be corrupted from there (sqlite.org/howtocorrupt.html, 2.6). The
  parent opens it again when it next needs it; the child has a journal of its own, on the same file.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .delivery.journal import Journal
    from .recorder import QueueRecorder

WAIT_S = 5.0
"""How long a fork may wait for what is under way to end."""
recorders: weakref.WeakSet[QueueRecorder] = weakref.WeakSet()
journals: weakref.WeakSet[Journal] = weakref.WeakSet()
"""The open ones of this process."""
opening = threading.RLock()
"""Held while a journal is being opened, which a fork has to wait for too."""
tainted = False
"""Whether a file stayed open when this process was forked: SQLite is not to be used here, but in memory."""
_opening_held = False
_paused: list[Journal] = []
_missed: list[Journal] = []


@cache
def watch() -> None:
    """Have the following run around every fork.

    What is registered last runs first: ahead of what `logging` does, which takes a lock that imports need.
    """
    if hasattr(os, "register_at_fork"):
        import_module("logging")
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    global _opening_held
    until = time.monotonic() + WAIT_S
    for recorder in list(recorders):
        recorder.forking(until)
    while _loading() and time.monotonic() < until:
        time.sleep(0.001)
    _opening_held = opening.acquire(timeout=max(until - time.monotonic(), 0.0))
    for journal in list(journals):
        (_paused if journal.pause(max(until - time.monotonic(), 0.0)) else _missed).append(journal)


def _loading() -> bool:
    """Return whether a thread is loading a module of ours, or of what ours need at the first observation."""
    return any(
        getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
        if name.startswith(("langfuse_integration", "opentelemetry"))
    )


def _in_parent() -> None:
    for journal in _paused:
        journal.resume()
    if _opening_held:
        opening.release()
    _paused.clear()
    _missed.clear()


def _in_child() -> None:
    global opening, tainted
    tainted = tainted or bool(_missed) or not _opening_held
    opening = threading.RLock()
    for journal in (*_paused, *_missed):
        journal.inherited()
    _paused.clear()
    _missed.clear()
    for recorder in list(recorders):
        recorder.forked()


if "logging" in sys.modules:  # else with the first observation: importing this package loads nothing
    watch()

"""The fork guard: closes every journal while this process forks, so that the child uses no connection of the parent.

SQLite's file locks are not inherited, but the child's copy of the library believes that it holds them and would
corrupt an open file (sqlite.org/howtocorrupt.html, 2.6). The parent opens the file again when it next needs it; the
child opens a journal of its own on the same file.
"""

from __future__ import annotations

import time
import weakref
from typing import Protocol

from ..internals import forks


class Pausable(Protocol):
    """An open journal."""

    def pause(self, wait_s: float) -> bool:
        """Close the file once its transaction has ended, and keep it closed; False if that takes too long."""
        ...

    def resume(self) -> None:
        """Continue after a `pause`."""
        ...

    def inherited(self) -> None:
        """In a forked child: never use the connection of the parent process."""
        ...


class ForkGuard:
    """The open journals of this process, and whether SQLite may be used in it.

    Attributes:
        opening: held while a journal is being opened; a fork waits for it too.
        tainted: a file was still open when this process was forked: it may use SQLite in memory only.
    """

    def __init__(self) -> None:
        self.opening = forks.Lock()
        self.tainted = False
        self._journals: weakref.WeakSet[Pausable] = weakref.WeakSet()
        self._opening_missed = False
        self._paused: list[Pausable] = []
        self._missed: list[Pausable] = []
        forks.register(self, after_imports=True)

    def add(self, journal: Pausable) -> None:
        """Close *journal* around each fork from now on."""
        self._journals.add(journal)

    def before_fork(self, deadline: float) -> None:
        """Let transactions end, and close the files."""
        self._opening_missed = not self.opening.acquire(timeout=max(deadline - time.monotonic(), 0.0))
        for journal in list(self._journals):
            paused = journal.pause(max(deadline - time.monotonic(), 0.0))
            (self._paused if paused else self._missed).append(journal)

    def after_fork_in_parent(self) -> None:
        """Resume the journals; each opens its file when it next needs it."""
        for journal in self._paused:
            journal.resume()
        self._paused.clear()
        self._missed.clear()
        if not self._opening_missed:
            self.opening.release()

    def after_fork_in_child(self) -> None:
        """Leave the files to the parent."""
        unprepared = [journal for journal in self._journals if journal not in self._paused]  # by a fork of C code
        self.tainted = self.tainted or bool(unprepared) or self._opening_missed
        for journal in (*self._paused, *unprepared):
            journal.inherited()
        self._paused.clear()
        self._missed.clear()


fork_guard = ForkGuard()
"""The fork guard of this process."""

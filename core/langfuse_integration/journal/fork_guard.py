"""Closes every journal while this process forks, so that nothing of the parent's is used or closed in the child.

SQLite's file locks are not inherited, but the child's copy of the library believes that it holds them: a file that
stays open would be corrupted from there (sqlite.org/howtocorrupt.html, 2.6). The parent opens it again when it next
needs it; the child has a journal of its own, on the same file.
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
        """Go on after a `pause`."""
        ...

    def inherited(self) -> None:
        """Never use what the parent process had open."""
        ...


class ForkGuard:
    """The open journals of this process, and whether SQLite may be used in it.

    Attributes:
        opening: held while a journal is being opened, which a fork has to wait for too.
        tainted: a file stayed open when this process was forked: SQLite is to be used here in memory only.
    """

    def __init__(self) -> None:
        self.opening = forks.Lock(reentrant=True)
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
        """Let the journals go on; each opens its file when it next needs it."""
        for journal in self._paused:
            journal.resume()
        self._paused.clear()
        self._missed.clear()
        if not self._opening_missed:
            self.opening.release()

    def after_fork_in_child(self) -> None:
        """Leave the files to the parent."""
        self.tainted = self.tainted or bool(self._missed) or self._opening_missed
        for journal in (*self._paused, *self._missed):
            journal.inherited()
        self._paused.clear()
        self._missed.clear()


fork_guard = ForkGuard()
"""The one of this process."""

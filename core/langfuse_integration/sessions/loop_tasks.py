"""Tasks of an event loop in one request or job: each may be for another user.

What such a task sets holds in the task and what it starts, and never in the tasks beside it. The code of the request
itself has it, too, while it is the only one that set a session: some middleware runs the whole application in a task.
"""

from __future__ import annotations

import sys
import weakref
from typing import Any, Generic, TypeVar

from ..internals.calling_thread import CallingThread

Place = TypeVar("Place")
"""What holds a session: the store's cell."""


class LoopTasks(Generic[Place]):
    """What the tasks of one request or job have set.

    Attributes:
        shown: what the code of the request itself has of its only task with a session; None if there is none. Other
            threads do not have it, since a task beside may have started them.
    """

    __slots__ = ("_apart", "_only", "_own", "_thread", "shown")

    def __init__(self) -> None:
        self.shown: Place | None = None
        self._own: weakref.ref[Any] | None = None
        self._only: weakref.ref[Any] | None = None
        self._apart = False
        self._thread = CallingThread()

    def begin(self) -> None:
        """Note the task that serves the request itself, if there is one, unless an earlier one still does."""
        self._thread = CallingThread()
        task = current_task()
        own = self._own() if self._own is not None else None
        if task is not None and (own is None or own.done()):
            self._own = weakref.ref(task)
            self._only, self._apart = None, False

    def inner(self) -> Any:
        """Return the task that calls, if it is one within the request; None in what serves the request itself."""
        task = current_task()
        return None if task is None or (self._own is not None and self._own() is task) else task

    def shows_here(self) -> bool:
        """Return whether the code of the request itself calls, and has what a task in it has set."""
        return self.shown is not None and self._thread.is_here() and self.inner() is None

    def show(self, task: Any, place: Place) -> bool:
        """Show the request what *task* has set, if it is the only one that did; return whether it is."""
        if self._only is not None and self._only() is not task:
            self._apart = True
        self._only = weakref.ref(task)
        self.shown = None if self._apart else place
        return not self._apart


def current_task() -> Any:
    """Return the task of an event loop that calls, or None."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except (AttributeError, RuntimeError):  # still being imported, or no loop runs in this thread
        return None

"""Tasks of an event loop in one request or job: each may be for another user.

What such a task sets holds in the task. It also becomes the session of the request, as long as no other task sets one
at the same time: then nobody can tell whose the rest of the request is, and it has the session of before again.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import Session

Held = tuple["Session | None", bool]
"""The session of a request, and whether it is set."""


class LoopTasks:
    """What the tasks of one request or job have set."""

    __slots__ = ("_apart", "_before", "_given", "_last", "_own")

    def __init__(self) -> None:
        self._own: weakref.ref[Any] | None = None
        self._last: weakref.ref[Any] | None = None
        self._given: Session | None = None
        self._before: Held = (None, False)
        self._apart = False

    def begin(self) -> None:
        """Note the task that serves the request itself, if there is one, unless an earlier one still does."""
        task = _current()
        if task is not None and _running(self._own) is None:
            self._own = weakref.ref(task)
            self._apart = False

    def inner(self) -> Any:
        """Return the task that calls, if it is one within the request; None in what serves the request itself."""
        task = _current()
        return None if task is None or (self._own is not None and self._own() is task) else task

    def is_last(self, task: Any) -> bool:
        """Return whether the request has the session of *task*."""
        return not self._apart and self._last is not None and self._last() is task

    def told(self, task: Any, session: Session | None, held: Held) -> Held:
        """Note that *task* sets *session*; return what the request, which has *held*, is to have now."""
        if self._apart:
            return held
        last = _running(self._last)
        if last is not None and last is not task:
            self._apart = True
            return self._before if held[0] is self._given else held
        if last is None:
            self._before = held
        self._last = weakref.ref(task)
        self._given = session
        return session, True


def _running(task: weakref.ref[Any] | None) -> Any:
    found = task() if task is not None else None
    return None if found is None or found.done() else found


def _current() -> Any:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except (AttributeError, RuntimeError):  # still being imported, or no loop runs in this thread
        return None

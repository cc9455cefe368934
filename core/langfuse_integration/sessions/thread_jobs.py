"""Threads with the context of one request or job: each may work for another user.

What such a thread sets holds in it and what it starts, whatever the threads beside it set. The request has it, too, as
long as no thread beside it has set another session: FastAPI runs a dependency, an endpoint and each step of a generator
in a thread of its own, one after the other, and what one of them sets is meant for those that follow.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Generic, TypeVar

from ..internals import forks
from ..internals.free_threading import FREE_THREADED
from ..internals.thread_frames import frames_by_thread
from .session import Session

Place = TypeVar("Place")
"""What holds a session, and lives as long as the context of its thread: the store's cell."""
POOLS = frozenset(
    {
        "threading",
        "concurrent.futures.thread",
        "anyio._backends._asyncio",
        "asgiref.sync",
        "multiprocessing.pool",
    }
)
"""Modules whose functions run one job of a thread after the other (Python 3.11, anyio 4, asgiref 3).

They tell others of a job's end a moment before they let go of its context: where another pool does so, a thread that
follows within that moment counts as one beside.
"""
_lock = forks.Lock()


class ThreadJob(Generic[Place]):
    """What a thread has set, and where it was then."""

    __slots__ = ("_calls", "_ident", "_place", "session_id")

    def __init__(self, place: Place, session: Session | None) -> None:
        self.session_id = session.session_id if session is not None else None
        self._ident = threading.get_ident()
        self._place = weakref.ref(place)
        self._calls = {id(frame): frame.f_code for frame in _calls(self._ident)}

    def is_at_work(self) -> bool:
        """Return whether the thread still does what it did when it set the session, or something that began with it."""
        if self._place() is None or self._ident == threading.get_ident():
            return False
        if not self._calls:  # nobody can see them, see below: only the end of the context tells
            return True
        for frame in _calls(self._ident):
            if self._calls.get(id(frame)) is frame.f_code:  # the innermost call that has not returned
                return frame.f_globals.get("__name__") not in POOLS
        return False


class ThreadJobs(Generic[Place]):
    """What the threads of one request or job have set.

    Attributes:
        before: what the request itself had set: its session, and whether it had set any.
    """

    __slots__ = ("_apart", "_jobs", "_thread", "before")

    def __init__(self) -> None:
        self.before: tuple[Session | None, bool] | None = None
        self._apart = False
        self._jobs: list[ThreadJob[Place]] = []
        self._thread = threading.get_ident()

    def begin(self) -> None:
        """Note that the calling thread serves the request itself."""
        self._thread = threading.get_ident()

    def inside(self) -> bool:
        """Return whether another thread calls than the one that serves the request itself."""
        return self._thread != threading.get_ident()

    def join(self, place: Place, session: Session | None, before: tuple[Session | None, bool]) -> bool:
        """Note what the calling thread sets in *place*; return whether no thread beside it has set another session.

        Args:
            before: what the request has now.
        """
        job = ThreadJob(place, session)
        with _lock:
            if not self._jobs:
                self.before = before
            beside = [other for other in self._jobs if other.is_at_work()]
            self._apart = self._apart or any(other.session_id != job.session_id for other in beside)
            self._jobs = [*beside, job]
            return not self._apart

    def forget(self) -> None:
        """Begin anew: the request itself has set a session."""
        with _lock:
            self._jobs = []
            self._apart = False


def _calls(ident: int) -> Iterator[FrameType]:
    """Yield the calls that a thread is in, the innermost first; none of a greenlet, nor where threads run at once."""
    frame = None if FREE_THREADED else frames_by_thread().get(ident)
    while frame is not None:
        yield frame
        frame = frame.f_back

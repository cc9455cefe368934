"""Threads with the context of one request or job: each may work for another user.

What such a thread sets holds in it and what it starts, whatever the threads beside it set. The request has it, too, as
long as no thread beside it has set another session: FastAPI runs a dependency, an endpoint and each step of a generator
in a thread of its own, one after the other, and what one of them sets is meant for those that follow.

Whether a thread still does what it did is seen in its calls. A call can be known again by its frame only while the
frame lives: the next call of the same function is likely to have it where the last one had it. To keep the frame would
keep what the function keeps. So the first call of a job gets a mark, as its frame's `f_trace`: the one attribute of a
frame that Python lets others set. It is never called, unless somebody begins to trace that thread afterwards.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Generic, TypeVar

from ..internals import forks
from ..internals.calling_thread import CallingThread
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


class _Mark:
    """A mark on the frame of a call, which dies with the frame."""

    __slots__ = ("__weakref__",)

    def __call__(self, *_: object) -> _Mark:
        """Return the mark, which stays: whoever traces the thread calls it as the trace function of the frame."""
        return self


class _Call:
    """The first call of the job that the calling thread does: the outermost one that is not a pool's own."""

    __slots__ = ("_code", "_id", "_mark")

    def __init__(self) -> None:
        first = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        frame: FrameType | None = first
        while frame is not None and frame.f_globals.get("__name__") not in POOLS:
            first, frame = frame, frame.f_back
        self._id, self._code = id(first), first.f_code
        mark = first.f_trace
        if mark is None and sys.gettrace() is None:
            mark = first.f_trace = _Mark()
        self._mark = weakref.ref(mark) if isinstance(mark, _Mark) else None

    def may_run(self) -> bool:
        """Return False once the call has certainly returned."""
        return self._mark is None or self._mark() is not None

    def runs_in(self, frame: FrameType) -> bool:
        """Return whether *frame* is the call's; where a debugger traces it, another call may be taken for it."""
        if id(frame) != self._id or frame.f_code is not self._code:
            return False
        mark = frame.f_trace
        return self._mark is None or (mark is self._mark() if isinstance(mark, _Mark) else mark is not None)


class ThreadJob(Generic[Place]):
    """What a thread has set, and where it was then."""

    __slots__ = ("_call", "_is_seen", "_place", "_thread", "session_id")

    def __init__(self, place: Place, session: Session | None) -> None:
        self.session_id = session.session_id if session is not None else None
        self._thread = CallingThread()
        self._place = weakref.ref(place)
        self._is_seen = not FREE_THREADED and self._thread.ident in frames_by_thread()  # a greenlet is not
        self._call = _Call()

    def is_at_work(self) -> bool:
        """Return whether the thread still does what it did when it set the session, or something that began with it."""
        if self._place() is None or self._thread.is_here():
            return False
        return any(map(self._call.runs_in, _calls(self._thread.ident))) if self._is_seen else self._call.may_run()


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
        self._thread = CallingThread()

    def begin(self) -> None:
        """Note that the calling thread serves the request itself."""
        self._thread = CallingThread()

    def inside(self) -> bool:
        """Return whether another thread calls than the one that serves the request itself."""
        return not self._thread.is_here()

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
    """Yield the calls that a thread is in, the innermost first."""
    frame = frames_by_thread().get(ident)
    while frame is not None:
        yield frame
        frame = frame.f_back

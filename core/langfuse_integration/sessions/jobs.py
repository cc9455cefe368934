"""Requests and jobs of a thread that serves one after another: what is set in one ends with it."""

from __future__ import annotations

import weakref

from ..internals import garbage
from ..internals.calling_thread import CallingThread
from .cells import Cell, active_cell


class Job:
    """Stands for a job of a pool where its thread has no other object of it; dies with the job."""

    __slots__ = ("__weakref__",)


class NumberedJob(Job):
    """A job whose end nobody tells: the thread then has a job with another number."""

    __slots__ = ()

    def serves_here(self) -> bool:
        """Return whether this thread runs the job now."""
        raise NotImplementedError


class RequestCell(Cell):
    """The cell of a request that is told by the frames of the code that serves it, not by a context.

    Its session holds where these frames are, and in other threads in contexts that were copied from the request.
    """

    __slots__ = ()

    def serves_here(self) -> bool:
        """Return whether the code that serves the request has called the caller, also where it streams the answer."""
        raise NotImplementedError


class JobEnd:
    """Puts back what was active before a job when the job is over, in the context in which the job ran.

    Contexts that were copied from the job keep its session: they are work that it started.

    Args:
        job: an object that lives as long as the job; a request's cell may live longer.
        cell: the cell that is now active in the job.
        before: the cell that was active until now.

    Attributes:
        before: the cell that was active before the job.
        is_collected: the garbage collector has ended the job, and could not leave it.
    """

    __slots__ = ("_cell", "_is_numbered", "_thread", "before", "is_collected", "job")

    before: Cell | None

    def __init__(self, job: object, cell: Cell, before: Cell | None) -> None:
        while before is not None and before.job_end is not None:
            if before.job_end.job() not in (None, job) and not before.job_end.is_left():
                break
            before = before.job_end.before
        self.before = before
        self._cell = weakref.ref(cell)
        self._thread = CallingThread()
        self._is_numbered = isinstance(job, (RequestCell, NumberedJob))
        self.is_collected = False
        garbage.watch()
        self.job: weakref.ref[object] = weakref.ref(job, self._leave)

    def is_left(self) -> bool:
        """Return whether the thread of a request or task does something else now: whoever keeps what stands for it."""
        if not self._thread.is_here():
            return False
        if not self._is_numbered:
            return self.is_collected
        job = self.job()
        return not (isinstance(job, (RequestCell, NumberedJob)) and job.serves_here())

    def _leave(self, _job: object) -> None:
        if garbage.is_collecting():  # whoever looks up the session here next leaves the job
            self.is_collected = True
            return
        cell = self._cell()
        if cell is not None and active_cell.get() is cell:
            active_cell.set(self.before)

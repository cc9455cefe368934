"""Cells, which hold the active session: of a context, of a user's visit to a host, of a request or job.

A cell that a host owns (a Streamlit tab, an ASGI request) is shared by everything of that host's user and changes in
place; any other `set` installs a new cell, so that sibling tasks cannot mix.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Protocol, Self

from .loop_tasks import LoopTasks
from .session import Session
from .thread_jobs import ThreadJobs

before_first_cell: Callable[[], None] | None = None
"""Called before the first cell of a process is made: where threads would inherit it."""


class CellBlock(Protocol):
    """A block in which a session is active: see blocks.py."""

    outer: CellBlock | None
    latest: Cell

    @property
    def before(self) -> Cell | None:
        """The cell that was active when the block began."""
        ...

    def begins(self, cell: Cell) -> bool:
        """Return whether the block began with *cell*; others were set in it."""
        ...

    def has_left(self, cell: Cell) -> bool:
        """Return whether the block has ended elsewhere, and *cell* is what it left in the caller's task or thread."""
        ...

    def has_ended_here(self) -> bool:
        """Return whether the block ended in this very context, not in one that this was copied from; asked once."""
        ...


class Ending(Protocol):
    """The end of a job: see jobs.py."""

    before: Cell | None
    job: weakref.ref[object]
    is_collected: bool

    def is_left(self) -> bool:
        """Return whether the thread of the job does something else now."""
        ...


class Use:
    """Whether the session of a cell was read."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = False


class Cell:
    """A place that holds the active session.

    Attributes:
        session: the session, or None.
        is_set: False in a host's cell that nobody has set yet: the look-up goes on. Otherwise None is a tombstone.
        owner: the host's cell under which this one was made (a host's cell owns itself), or None outside of hosts.
        changed: in a host's cell, what the host wants to be called with when the application sets another session.
        use: set by who wants to know whether it was of use.
        scope: the innermost block in which this one became active, or None; a host's cell has none.
        sealed: what is propagated around the block is of somebody else, and not asked.
        job_end: takes this cell out of its context when a job of a thread or pool ends; None outside of jobs.
        tasks: in the cell of a request or job, the tasks of event loops in it; None elsewhere.
        threads: in the cell of a request or job, the threads with its context; None elsewhere.
    """

    __slots__ = (
        "__weakref__",
        "changed",
        "is_set",
        "job_end",
        "owner",
        "scope",
        "sealed",
        "session",
        "tasks",
        "threads",
        "use",
    )

    def __init__(self, session: Session | None, owner: Cell | None = None, scope: CellBlock | None = None) -> None:
        global before_first_cell
        before = before_first_cell
        if before is not None:
            before()
            before_first_cell = None
        self.session = session
        self.is_set = True
        self.owner = owner
        self.scope = scope
        self.changed: Callable[[Session | None], None] | None = None
        self.use: Use | None = None
        self.sealed = False
        self.job_end: Ending | None = None
        self.tasks: LoopTasks[Cell] | None = None
        self.threads: ThreadJobs[Cell] | None = None

    @classmethod
    def hosted(cls) -> Self:
        """Return an empty cell that owns itself: for a host to keep, one per user's visit."""
        cell = cls(None)
        cell.is_set = False
        cell.owner = cell
        return cell

    @classmethod
    def of_request(cls) -> Self:
        """Return an empty cell that owns itself: for a request or job, which may work for several users at once."""
        cell = cls.hosted()
        cell.tasks = LoopTasks()
        cell.threads = ThreadJobs()
        return cell

    def begin(self) -> None:
        """Note that the calling thread, and its task if it is in one, serves the request or job itself."""
        if self.tasks is not None:
            self.tasks.begin()
        if self.threads is not None:
            self.threads.begin()


active_cell: ContextVar[Cell | None] = ContextVar("langfuse_integration_cell", default=None)
"""Points to the cell that is active in a context."""
set_here: ContextVar[object] = ContextVar("langfuse_integration_set_here", default=False)
"""What the code of this context has set last in the cell of a visit, which other contexts share; False is nothing."""


def set_in_visit(visit: Cell, session: Session | None, *, carried: bool) -> Cell | None:
    """Set the session of a visit; return the own cell that the calling task or thread within it has got, or None.

    Args:
        carried: the thread knows the visit from who started it or gave it a job; its context holds no cell.
    """
    task = visit.tasks.inner() if visit.tasks is not None else None
    if task is None and not ((carried or active_cell.get() is visit) and _is_in_thread_of(visit)):
        _fill(visit, session)
        return None
    own = Cell.of_request()
    own.begin()
    _fill(own, session)
    if task is not None:
        own.changed = partial(_tell_of_task, visit, weakref.ref(task), weakref.ref(own))
    else:
        own.changed = partial(_tell_of_thread, visit, weakref.ref(own))
    own.changed(session)
    active_cell.set(own)
    return own


def _is_in_thread_of(visit: Cell) -> bool:
    return visit.threads is not None and visit.threads.inside()


def _tell_of_task(visit: Cell, task: weakref.ref[object], own: weakref.ref[Cell], session: Session | None) -> None:
    """Let a visit know what a task within it has set in a cell of its *own*."""
    place = own()
    if visit.tasks is not None and place is not None:
        is_only = visit.tasks.show(task(), place)
        if visit.changed is not None:
            visit.changed(session if is_only else visit.session)


def _tell_of_thread(visit: Cell, own: weakref.ref[Cell], session: Session | None) -> None:
    """Let a visit know what a thread within it has set in a cell of its *own*."""
    place = own()
    if visit.threads is not None and place is not None:
        if visit.threads.join(place, session, (visit.session, visit.is_set)):
            _put(visit, session)
        elif visit.threads.before is not None:
            _put(visit, *visit.threads.before)


def _fill(visit: Cell, session: Session | None) -> None:
    if visit.tasks is not None:
        visit.tasks.shown = None
    if visit.threads is not None:
        visit.threads.forget()
    _put(visit, session)
    set_here.set(session)


def _put(visit: Cell, session: Session | None, is_set: bool = True) -> None:
    if not is_set:
        visit.is_set = False
    visit.session = session
    visit.is_set = is_set
    if visit.changed is not None:
        visit.changed(session)

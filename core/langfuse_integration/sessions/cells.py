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

    def has_ended_here(self) -> bool:
        """Return whether the block ended in this very context, not in one that this was copied from; asked once."""
        ...


class Ending(Protocol):
    """The end of a job: see jobs.py."""

    before: Cell | None
    job: weakref.ref[object]

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
    """

    __slots__ = ("__weakref__", "changed", "is_set", "job_end", "owner", "scope", "sealed", "session", "tasks", "use")

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

    @classmethod
    def hosted(cls) -> Self:
        """Return an empty cell that owns itself: for a host to keep, one per user's visit."""
        cell = cls(None)
        cell.is_set = False
        cell.owner = cell
        return cell

    @classmethod
    def of_request(cls) -> Self:
        """Return an empty cell that owns itself: for a request or job, whose tasks may be for several users."""
        cell = cls.hosted()
        cell.tasks = LoopTasks()
        return cell

    def begin(self) -> None:
        """Note that the calling task, if it is one, serves the request or job itself."""
        if self.tasks is not None:
            self.tasks.begin()


active_cell: ContextVar[Cell | None] = ContextVar("langfuse_integration_cell", default=None)
"""Points to the cell that is active in a context."""
set_here: ContextVar[object] = ContextVar("langfuse_integration_set_here", default=False)
"""What the code of this context has set last in the cell of a visit, which other contexts share; False is nothing."""


def set_in_visit(visit: Cell, session: Session | None) -> bool:
    """Set the session of a visit; return whether the calling task, one within it, has got a cell of its own."""
    tasks = visit.tasks
    task = tasks.inner() if tasks is not None else None
    if tasks is None or task is None:
        _fill(visit, session)
        return False
    own = Cell.of_request()
    own.begin()
    _fill(own, session)
    own.changed = partial(_tell, visit, weakref.ref(task), weakref.ref(own))
    own.changed(session)
    active_cell.set(own)
    return True


def _tell(visit: Cell, task: weakref.ref[object], own: weakref.ref[Cell], session: Session | None) -> None:
    """Let a visit know what a task within it has set in a cell of its *own*."""
    place = own()
    if visit.tasks is not None and place is not None:
        is_only = visit.tasks.show(task(), place)
        if visit.changed is not None:
            visit.changed(session if is_only else visit.session)


def _fill(visit: Cell, session: Session | None) -> None:
    visit.session = session
    visit.is_set = True
    if visit.tasks is not None:
        visit.tasks.shown = None
    set_here.set(session)
    if visit.changed is not None:
        visit.changed(session)

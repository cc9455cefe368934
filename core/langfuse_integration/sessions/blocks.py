"""Blocks in which a session is active, also those of generators, which may overlap and end in any order."""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Token
from types import FrameType, TracebackType
from typing import Any

from ..internals.calling_thread import CallingThread
from ..internals.garbage import collecting, is_collecting, spare_context
from ..internals.generator_blocks import GENERATOR, GeneratorBlocks
from .cells import Cell, CellBlock, active_cell
from .loop_tasks import current_task
from .session import Session

generators: GeneratorBlocks[Scope] = GeneratorBlocks()
open_generators = generators.by_frame

abandoned: deque[bool] = deque(maxlen=1)
"""Not empty once the block of a generator has ended elsewhere than where it began."""


def leave_abandoned() -> Cell | None:
    """Leave the blocks that began here, and whose generators were closed elsewhere; return the cell that is active.

    An event loop closes an async generator that nobody reads any more in a task of its own; the garbage collector
    closes others in any thread, and may change no context.
    """
    cell = before = active_cell.get()
    while cell is not None and cell.scope is not None and cell.scope.has_left(cell):
        cell = cell.scope.before
    if cell is not before and not is_collecting():
        active_cell.set(cell)
    return cell


def resumed_cell(cell: Cell | None) -> Cell | None:
    """Return the cell of a generator's block around this line, where *cell*, that of the context, is not inside of it.

    A visit that began inside of a generator, such as a request to an application in the same process, is its own.
    """
    scope = generators.innermost()
    if scope is None:
        return None
    if cell is not None:
        if cell.owner is cell and scope.latest.owner is not cell:
            return None
        inner = cell.scope
        while inner is not None:
            if inner is scope:
                return None
            inner = inner.outer
    return scope.latest


class Scope:
    """A `with` or `async with` block in which a session is active. Each use is a new one.

    Blocks of generators may overlap, and end in any order: a block that ends while a later one is open leaves that one
    active, and is skipped when the later one restores what was active before it.

    Attributes:
        outer: the block around this one, or None.
        latest: the cell of this block; in a generator, that of the last `set` in it.
    """

    __slots__ = (
        "_cell",
        "_ended",
        "_frame",
        "_is_abandoned",
        "_is_set",
        "_opener",
        "_place",
        "_sealed",
        "_session",
        "_token",
        "_visit",
        "latest",
        "outer",
    )

    latest: Cell

    def __init__(
        self,
        place: Callable[[], Cell | None],
        session: Session | None,
        *,
        is_set: bool = True,
        sealed: bool = False,
        visit: Cell | None = None,
    ) -> None:
        self._place = place
        self._session = session
        self._is_set = is_set
        self._sealed = sealed
        self._visit = visit
        self._ended: Token[Cell | None] | None = None
        self._frame: FrameType | None = None
        self.outer: CellBlock | None = None
        self._opener: tuple[CallingThread, weakref.ref[Any] | None] | None = None
        self._is_abandoned = False

    def __enter__(self) -> Session | None:
        cell = self._visit
        if cell is not None:
            cell.begin()
        else:
            before = self._place()
            cell = Cell(self._session, before.owner if before is not None else None, self)
            cell.is_set = self._is_set
            cell.sealed = self._sealed
            if before is not None:
                self.outer = before.scope
            frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            if frame.f_code.co_flags & GENERATOR and self._is_set:
                self._open_in(frame)
        self._cell = self.latest = cell
        if collecting:
            spare_context()
        self._token = active_cell.set(cell)
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._frame is not None:
            generators.close(self._frame, self)
            self._frame = None
            if is_collecting():
                self._abandon()
                return
        active = active_cell.get()
        if collecting:
            spare_context()
        try:
            active_cell.reset(self._token)
        except ValueError:  # opened in another context, as by a generator that is closed elsewhere
            if self._opener is not None:
                self._abandon()
            return  # nothing here is ours
        if active is not self._cell and active is not None and active.scope is not self:
            self._ended = active_cell.set(active if active.scope is not None else active_cell.get())
            return
        before = active_cell.get()
        while before is not None and before.scope is not None and before.scope.has_ended_here():
            before = before.scope.before
            active_cell.set(before)

    @property
    def before(self) -> Cell | None:
        """The cell that was active when the block began."""
        return None if self._token.old_value is Token.MISSING else self._token.old_value

    def begins(self, cell: Cell) -> bool:
        """Return whether the block began with *cell*; others were set in it."""
        return cell is self._cell

    def has_left(self, cell: Cell) -> bool:
        """Return whether the block has ended elsewhere, and *cell* is what it left in the caller's task or thread.

        Tasks and threads that began within the block keep its session, and what others have set since holds.
        """
        if not self._is_abandoned or cell is not self.latest or self._opener is None:
            return False
        thread, opener = self._opener
        if not thread.is_here():
            return False
        task = current_task()
        return task is None if opener is None else task is not None and task is opener()

    def has_ended_here(self) -> bool:
        """Return whether the block ended in this very context, not in one that this was copied from; asked once."""
        try:
            if self._ended is not None:
                active_cell.reset(self._ended)
        except (ValueError, RuntimeError):
            return False
        return self._ended is not None

    def _open_in(self, frame: FrameType) -> None:
        self._frame = frame
        task = current_task()
        self._opener = CallingThread(), weakref.ref(task) if task is not None else None
        generators.open(frame, self)

    def _abandon(self) -> None:
        self._is_abandoned = True
        abandoned.append(True)

    async def __aenter__(self) -> Session | None:
        session = self.__enter__()
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if frame.f_code.co_flags & GENERATOR and self._visit is None:
            self._open_in(frame)
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

"""IPython and Jupyter: one session for the whole notebook, or shell. Loads by itself once IPython is imported.

A cell with `await` in it runs in a task of its own, whose context ends with the cell. What runs in a cell therefore
shares one place for the session. A thread or server that a cell starts is no part of a cell, and has none of it.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from ..internals.faults import shielded
from ..sessions.cells import Cell
from ..sessions.store import SessionStore

_PLACING = shielded("placing a notebook's session at the start of a cell")
_RUN_CODE: Any = getattr(getattr(InteractiveShell, "run_code", None), "__code__", None)
"""The code that runs a cell's code, awaited or not (IPython 9.18); without it the first cell's session may be lost."""


def host(store: SessionStore) -> IPythonHost:
    """Return the host for *store*."""
    return IPythonHost(store)


class IPythonHost:
    """Keeps the one cell of this process's shell."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._cell = Cell.of_request()
        self._shell: Any = None

    def cell(self) -> Cell | None:
        """Return the shell's cell in code that a cell runs, or None elsewhere."""
        if not InteractiveShell.initialized() or not _in_a_cell():
            return None
        self._place()
        self._hook_into_cells()
        return self._cell

    def _place(self) -> None:
        self._cell.begin()
        self._store.place_once(self._cell)

    def _hook_into_cells(self) -> None:
        """Place the session at the start of each cell, so that its tasks and threads get it by their contexts."""
        shell = InteractiveShell.instance()
        if shell is not self._shell:
            self._shell = shell
            with _PLACING:
                shell.events.register("pre_run_cell", lambda info: self._place())


def _in_a_cell() -> bool:
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code is _RUN_CODE:
            return True
        frame = frame.f_back
    return False

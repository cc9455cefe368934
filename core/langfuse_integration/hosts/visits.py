"""Chainlit and NiceGUI: every open page has its own session. Loads by itself once the application imports them.

Both know whose handler is running, and keep an object for each page that is open. A cell lives as long as that object.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ..internals import forks
from ..internals.faults import shielded
from ..sessions.cells import Cell
from ..sessions.store import SessionStore

_PLACING = shielded("placing the session of a NiceGUI page at the start of a handler")
_MARKER = "_langfuse_integration_placed"


class VisitHost:
    """Keeps one cell per visit.

    Args:
        visit: returns the framework's object for the visit whose code runs here, or None.
    """

    def __init__(self, visit: Callable[[], object | None]) -> None:
        self._visit = visit
        self._cells: weakref.WeakKeyDictionary[Any, Cell] = weakref.WeakKeyDictionary()
        self._lock = forks.Lock()  # a visit may be collected while this thread makes another

    def cell(self) -> Cell | None:
        """Return the cell of the visit whose code runs here, or None."""
        visit = self._visit()
        return self.cell_of(visit) if visit is not None else None

    def cell_of(self, visit: object) -> Cell:
        """Return the cell of *visit*."""
        with self._lock:
            cell = self._cells.get(visit)
            if cell is None:
                cell = self._cells[visit] = Cell.hosted()
            return cell


def chainlit_host(store: SessionStore) -> VisitHost:
    """Return the host for Chainlit (2.4): what `on_chat_start` sets holds for the chat."""
    from chainlit.context import context_var  # pyright: ignore[reportMissingImports]

    def visit() -> object | None:
        return getattr(context_var.get(None), "session", None)

    return VisitHost(visit)


def nicegui_host(store: SessionStore) -> VisitHost:
    """Return the host for NiceGUI (3.18): what a page's function sets holds for the handlers of that page."""
    from nicegui.slot import Slot, get_task_id  # pyright: ignore[reportMissingImports]

    def visit() -> object | None:
        slots = Slot.stacks.get(get_task_id())
        return getattr(getattr(slots[-1], "parent", None), "client", None) if slots else None

    host = VisitHost(visit)
    _in_handlers(store, host)
    return host


def _in_handlers(store: SessionStore, host: VisitHost) -> None:
    """Run each handler in the cell of its page, which its tasks then get by their contexts."""
    from nicegui import events  # pyright: ignore[reportMissingImports]

    original: Any = getattr(events, "handle_event", None)
    if not callable(original) or hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    def handle_event(handler: Any, arguments: Any, **options: Any) -> Any:
        client: Any = None
        with _PLACING:
            client = getattr(getattr(arguments, "sender", None), "client", None) or getattr(arguments, "client", None)
        if client is None:
            return original(handler, arguments, **options)
        with store.visiting(host.cell_of(client)):
            return original(handler, arguments, **options)

    setattr(handle_event, _MARKER, True)
    for module in _modules_with(original):
        module.handle_event = handle_event


def _modules_with(function: Any) -> list[Any]:
    """Return NiceGUI's modules that have imported *function* by its name."""
    import sys

    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("nicegui") and getattr(module, function.__name__, None) is function
    ]

"""instrument(), instrumented() and uninstrument(): a handler for everything in the process."""

from __future__ import annotations

from typing import Any

from langchain_core.tracers.context import register_configure_hook

from langfuse_integration.internals import forks

from .handler import SessionHandler


class _Switch:
    """Stands where LangChain takes a ContextVar, and gives the same answer in every context, task and thread."""

    def __init__(self) -> None:
        self.handler: SessionHandler | None = None
        self.registered = False

    def get(self) -> SessionHandler | None:
        """Return the handler to attach, or None."""
        return self.handler


_switch: Any = _Switch()
_lock = forks.Lock()


def instrument() -> None:
    """Record every LangChain and LangGraph run of this process; called again it changes nothing.

    Where a run has a `SessionHandler` of its own, that one serves.
    """
    with _lock:
        if not _switch.registered:
            register_configure_hook(_switch, inheritable=True, handle_class=SessionHandler)
            _switch.registered = True
        if _switch.handler is None:
            _switch.handler = SessionHandler()


def uninstrument() -> None:
    """Undo `instrument()`: runs that start from here on are not recorded by it."""
    with _lock:
        _switch.handler = None


def instrumented() -> bool:
    """Return whether `instrument()` is in force in this process; handlers that are attached do not count."""
    return _switch.handler is not None

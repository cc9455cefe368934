"""instrument(), instrumented() and uninstrument(): a handler for everything in the process."""

from __future__ import annotations

from typing import Any

from langchain_core.tracers.context import register_configure_hook

from langfuse_integration.internals import forks

from .handler import SessionHandler


class _ProcessWideHandler:
    """The handler of `instrument()`, in place of the ContextVar that LangChain asks: the same in every context."""

    def __init__(self) -> None:
        self.handler: SessionHandler | None = None
        self.registered = False

    def get(self) -> SessionHandler | None:
        """Return the handler to attach, or None."""
        return self.handler


OTHER_SCOPES = ("openinference.instrumentation.langchain", "opentelemetry.instrumentation.langchain")
"""Scopes of spans that other instrumentors make of LangChain: with `instrument()` each of them tells of our rows."""

_process_wide: Any = _ProcessWideHandler()
_lock = forks.Lock()


def instrument() -> None:
    """Record every LangChain and LangGraph run of this process; called again it changes nothing.

    A run that has a `SessionHandler` of its own is recorded by that one.
    """
    with _lock:
        if not _process_wide.registered:
            register_configure_hook(_process_wide, inheritable=True, handle_class=SessionHandler)
            _process_wide.registered = True
        if _process_wide.handler is None:
            _process_wide.handler = SessionHandler()
            _duplicate_scopes().update(OTHER_SCOPES)


def uninstrument() -> None:
    """Stop recording runs that start from now on; undoes `instrument()`."""
    with _lock:
        if _process_wide.handler is not None:
            _process_wide.handler = None
            _duplicate_scopes().difference_update(OTHER_SCOPES)


def _duplicate_scopes() -> set[str]:
    from langfuse_integration.recording import otel_spans  # loads OpenTelemetry

    return otel_spans.duplicate_scopes


def instrumented() -> bool:
    """Return whether `instrument()` is in force in this process; handlers that are attached do not count."""
    return _process_wide.handler is not None

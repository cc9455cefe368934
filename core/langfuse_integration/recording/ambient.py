"""Which observation is current here: what frameworks know, then OpenTelemetry's current span; the innermost wins.

Nothing is ever attached for this: a framework registers how to tell its own run, and is asked when something starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from ..internals.context_variables import reset_quietly
from ..internals.faults import fault
from .anchor import Parent

Source = Callable[[], Parent | None]
_ASKING = "asking a framework for its current run"

_sources: tuple[Source, ...] = ()
_override: ContextVar[tuple[Parent | None, int] | None] = ContextVar("langfuse_integration_override", default=None)


def register(source: Source) -> None:
    """Ask *source* from now on; registered twice it is asked once."""
    global _sources
    if source not in _sources:
        _sources = (*_sources, source)


def unregister(source: Source) -> None:
    """Do not ask *source* any more."""
    global _sources
    _sources = tuple(other for other in _sources if other != source)


_UNKNOWN: Any = object()


def current(span: Parent | None = _UNKNOWN) -> Parent | None:
    """Return the innermost observation or span around this line, or None.

    The innermost is the one that started last; a span that does not reach Langfuse gives way to any run. A span that
    is no longer open counts too: work that outlives it belongs below it all the same.

    Args:
        span: OpenTelemetry's current span, where the caller has it already; it is returned as it is.
    """
    innermost = current_span() if span is _UNKNOWN else span
    for source in _sources:
        try:
            parent = source()
            if parent is not None and (
                innermost is None or parent.started_ns >= innermost.started_ns or not innermost.exported
            ):
                innermost = parent
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ASKING, error)
    override = _override.get()
    if override is not None and (innermost is None or innermost.started_ns < override[1]):
        return override[0]
    return innermost


def override_current(parent: Parent | None) -> Token[tuple[Parent | None, int] | None]:
    """Let *parent* stand in this context for everything that started before now; see placement.py."""
    return _override.set((parent, time.time_ns()))


def leave(token: Token[tuple[Parent | None, int] | None]) -> None:
    """Undo `override_current`; in another context than its own there is nothing to undo."""
    reset_quietly(_override, token)


def _load() -> Parent | None:
    """Load OpenTelemetry at the first look-up, and stand aside from then on."""
    global current_span
    from . import otel_spans

    current_span = otel_spans.current_span
    return current_span()


current_span: Source = _load
"""Returns OpenTelemetry's current span as a parent, or None; to be called as `ambient.current_span()`."""

"""OpenTelemetry's current span inside of tools and nodes, with nothing attached there.

`get_current_span()` reads OpenTelemetry's runtime context. The one installed here answers with the innermost
observation around the line that asks, so that `@observe`, `update_current_span`, `score_current_span` and the spans of
other libraries find it. Contexts that are copied or attached hold only what was really attached.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Token, copy_context
from types import FrameType
from typing import Any

from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context

from ..internals.faults import shielded
from ..recording import ambient, otel_api
from ..recording.observation import Observation
from ..recording.otel_api import SPAN_KEY, span_context
from ..recording.otel_spans import current_span
from . import private
from .stand_ins import as_langfuse_sees

_LOOKING = shielded("looking for the current observation")
_PASSED_OVER = ("opentelemetry.", "langfuse_integration.", "contextlib", "contextvars")


def span_here(attached: Any) -> Any:
    """Return the span of the innermost observation around this line: *attached* itself, unless a run is inside of it.

    Args:
        attached: OpenTelemetry's current span, or None.
    """
    with _LOOKING:
        span = current_span()
        parent = ambient.current(span)
        if parent is None or not parent.span:
            return attached if span is not None else None  # a span left over from an ended trace is no parent
        if parent is span:
            return as_langfuse_sees(attached, parent) if parent is not attached and langfuse_asks() else attached
        if isinstance(parent, Observation):
            return parent
        return trace_api.NonRecordingSpan(span_context(parent.trace, parent.span))
    return attached


class AmbientContext(Context):
    """A context whose current span is looked up when it is read."""

    __slots__ = ("_asks", "_made_in")

    def __init__(self, attached: Context, asks: Callable[[], bool]) -> None:
        super().__init__(attached)
        self._made_in = copy_context()
        self._asks = asks

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; the current span as `span_here` finds it."""
        value = super().get(key, default)
        return span_here(value) if key == SPAN_KEY and self._asks() else value

    def as_attached(self) -> Context:
        """Return a plain context for another place, with the span that was current where this one was read."""
        attached = super().get(SPAN_KEY)
        span = self._made_in.copy().run(span_here, attached) if self._asks() else attached
        return Context(self) if span is None else Context({**self, SPAN_KEY: span})


class AmbientRuntime:
    """A runtime context that attaches to the ContextVar of the one before it."""

    def __init__(self, inner: Any, asks: Callable[[], bool]) -> None:
        self.inner = inner
        self._asks = asks
        self._current_context = inner._current_context
        self.detach: Callable[[Token[Context]], None] = inner.detach

    def attach(self, context: Context) -> Token[Context]:
        """Attach *context*."""
        plain = context.as_attached() if type(context) is AmbientContext else context
        token: Token[Context] = self.inner.attach(plain)
        return token

    def get_current(self) -> Context:
        """Return the context of this line."""
        return AmbientContext(self._current_context.get(), self._asks)


def install(asks: Callable[[], bool]) -> bool:
    """Have OpenTelemetry look the current span up; False where its runtime context is not the usual one.

    Args:
        asks: asked at each look-up whether to look for runs, or only at what is attached.
    """
    runtime = private.runtime_context()
    if isinstance(runtime, AmbientRuntime):
        return True
    variable = private.context_variable()
    if variable is None or otel_api.get_context != variable.get:
        return False
    private.replace_runtime_context(AmbientRuntime(runtime, asks))
    return True


def langfuse_asks() -> bool:
    """Return whether Langfuse's SDK is what reads the context here: the innermost caller that is no plumbing."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(_PASSED_OVER):
            return module == "langfuse" or module.startswith("langfuse.")
        frame = frame.f_back
    return False

"""OpenTelemetry's context, as far as it is used here: the current span, and blocks that set it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context

_SAMPLED = trace_api.TraceFlags(trace_api.TraceFlags.SAMPLED)

# Private to the API, in 1.30 to 1.45: the ContextVar behind the runtime context. Its own methods cost a third of the
# functions around them, and resetting it is quiet: `context.detach` logs an ERROR when a generator is closed in another
# context than the one it was opened in, which is no error here. Without it the public functions serve.
_variable: Any = getattr(getattr(context_api, "_RUNTIME_CONTEXT", None), "_current_context", None)
_public = not isinstance(_variable, ContextVar)
get_context: Callable[[], Context] = context_api.get_current if _public else _variable.get
set_context: Callable[[Context], Token[Context]] = context_api.attach if _public else _variable.set
_reset: Callable[[Token[Context]], None] = context_api.detach if _public else _variable.reset

(SPAN_KEY,) = trace_api.set_span_in_context(trace_api.INVALID_SPAN, Context())
"""Where a context holds its current span."""
(BAGGAGE_KEY,) = baggage.set_baggage("any", "thing", Context())
"""Where a context holds its baggage, if it has any."""


def span_context(trace: int, span: int) -> trace_api.SpanContext:
    """Return a local, sampled context of these ids."""
    return trace_api.SpanContext(trace, span, False, _SAMPLED)


def attach(span: trace_api.Span) -> Token[Context]:
    """Make *span* the current span in this context, for a `with` block only."""
    return set_context(Context({**get_context(), SPAN_KEY: span}))


def detach(token: Token[Context]) -> None:
    """Undo `attach`; in another context than its own there is nothing to undo."""
    try:
        _reset(token)
    except ValueError:
        pass

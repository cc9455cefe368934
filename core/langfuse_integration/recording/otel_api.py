"""OpenTelemetry's context, as far as it is used here: the current span, and blocks that set it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Protocol

from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context

from ..internals.garbage import collecting, spare_context

_SAMPLED = trace_api.TraceFlags(trace_api.TraceFlags.SAMPLED)

# Private to the API, in 1.30 to 1.45: the ContextVar behind the runtime context. Its own methods cost a third of the
# functions around them, and resetting it is quiet: `context.detach` logs an ERROR when a generator is closed in another
# context than the one it was opened in, which is no error here. Without it the public functions serve.
_variable: Any = getattr(getattr(context_api, "_RUNTIME_CONTEXT", None), "_current_context", None)
_public = not isinstance(_variable, ContextVar)
get_context: Callable[[], Context] = context_api.get_current if _public else _variable.get
set_context: Callable[[Context], Token[Context]] = context_api.attach if _public else _variable.set
reset: Callable[[Token[Context]], None] = context_api.detach if _public else _variable.reset

(SPAN_KEY,) = trace_api.set_span_in_context(trace_api.INVALID_SPAN, Context())
"""Where a context holds its current span."""
ROW_KEY = "langfuse_integration_row"
"""Where a context holds the innermost observation that was attached: also below spans that other tracers attached."""
ROOT_KEY = "langfuse_integration_root"
"""Where a context holds the root of the trace that `ROW_KEY` is in, if that was attached, too."""
(BAGGAGE_KEY,) = baggage.set_baggage("any", "thing", Context())
"""Where a context holds its baggage, if it has any."""


def span_context(trace: int, span: int) -> trace_api.SpanContext:
    """Return a local, sampled context of these ids."""
    return trace_api.SpanContext(trace, span, False, _SAMPLED)


def detach(token: Token[Context]) -> None:
    """Undo `set_context`; in another context than its own there is nothing to undo."""
    try:
        reset(token)
    except ValueError:
        pass


class Attached(Protocol):
    """A `with` block that sets the current span, which may end while a later such block is open.

    Attributes:
        token: of the context that was current before, or None.
        ended: set when it ended while a later block was open in the same context.
    """

    token: Token[Context] | None
    ended: Token[Context] | None


_BLOCK = context_api.create_key("langfuse-integration-block")


def attach(span: trace_api.Span, block: Attached) -> None:
    """Make *span* the current span in this context, for *block* only."""
    if collecting:
        spare_context()
    context = get_context()
    root = context.get(ROOT_KEY) if context and not getattr(span, "app_root", True) else span
    block.token = set_context(Context({**context, SPAN_KEY: span, ROW_KEY: span, ROOT_KEY: root, _BLOCK: block}))


def leave(block: Attached) -> None:
    """Undo `attach`; in another context than its own there is nothing to undo.

    Blocks of generators may overlap, and end in any order: one that ends while a later one is open leaves that one's
    span current, and is skipped when the later one restores what was current before it.
    """
    if collecting:
        spare_context()
    active = get_context()
    try:
        reset(block.token)  # type: ignore[arg-type]
    except ValueError:
        return
    if active.get(_BLOCK) is not block:
        block.ended = set_context(active)
        return
    outer: Any = get_context().get(_BLOCK)
    while outer is not None and outer.ended is not None:
        try:
            reset(outer.ended)
        except (ValueError, RuntimeError):
            return  # it ended in the context that this one was copied from: work that outlives it stays below it
        before = outer.token.old_value
        set_context(Context() if before is Token.MISSING else before)
        outer = get_context().get(_BLOCK)

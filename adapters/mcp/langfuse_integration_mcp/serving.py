"""The spans that an SDK makes of its own accord for what is a row of ours already: they give way to it."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace as trace_api

from langfuse_integration.placement import Placed

from . import private, propagation
from .call import Call, current, open_rows

serving: ContextVar[bool] = ContextVar("langfuse_integration_mcp_serving", default=False)
"""Whether our middleware has placed the request that is handled here."""


class InProcess:
    """A request handled in the process of its caller, on the caller's account; the span is the caller's row."""

    __slots__ = ("_call", "_placed", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._placed = Placed(call.session, call.row)

    def __enter__(self) -> trace_api.Span:
        self._placed.__enter__()
        self._token = current.set(None)  # a call that the handler makes is no part of its caller's
        return _standing(self._call)

    def __exit__(self, *outcome: object) -> None:
        try:
            current.reset(self._token)
        except ValueError:
            pass  # closed in another context
        self._placed.__exit__(None, None, None)


class _AsIs:
    """The span that is current, as a context manager that changes nothing."""

    __slots__ = ()

    def __enter__(self) -> trace_api.Span:
        return trace_api.NonRecordingSpan(trace_api.get_current_span().get_span_context())

    def __exit__(self, *outcome: object) -> None:
        return None


def caller_of(span: trace_api.SpanContext) -> Call | None:
    """Return the call of this process whose row has that id, while it awaits its answer."""
    call = open_rows.get(span.span_id)
    return call if call is not None and call.row is not None and call.row.trace == span.trace_id else None


def _standing(call: Call) -> trace_api.Span:
    """Return a span that has the ids of a call's row and takes nothing: what the row says comes from us."""
    assert call.row is not None  # noqa: S101  asked for only where there is one
    return trace_api.NonRecordingSpan(call.row.get_span_context())


def _client() -> trace_api.Span | None:
    call = current.get()
    return _standing(call) if call is not None and call.open and call.row is not None else None


def _inject(meta: dict[str, Any]) -> None:
    call = current.get()
    if call is not None and call.open and call.row is not None:
        meta.update(propagation.outgoing(call.row, call.connection))


def _server(context: Any) -> Any:
    span = trace_api.get_current_span(context).get_span_context()
    call = caller_of(span) if span.is_valid else None
    if call is not None:
        return InProcess(call)
    return _AsIs() if serving.get() else None


_SPANS = private.Spans(_client, _inject, _server)
_holders: weakref.WeakSet[Any] = weakref.WeakSet()


def hold(holder: object) -> None:
    """Let the SDKs' spans give way while *holder*, a connection or a server, is there and not released."""
    _holders.add(holder)
    private.replace_spans(_SPANS)


def release(holder: object = None) -> None:
    """Give the SDKs' spans back, unless somebody else still holds them."""
    if holder is not None:
        _holders.discard(holder)
    if not _holders:
        private.restore_spans()

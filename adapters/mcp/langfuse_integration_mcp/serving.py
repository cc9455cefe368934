"""Keeps the SDKs' own spans from being recorded beside our rows for the same requests."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace as trace_api

from langfuse_integration.internals.faults import fault, shielded
from langfuse_integration.langfuse_sdk.provider import read_by_others
from langfuse_integration.recording import otel_api
from langfuse_integration.recording.placement import Placed
from langfuse_integration.recording.tracing import recorder

from . import private, propagation
from .call import McpCall, current, open_rows

_PLACING = "placing an MCP request of this process"
_LEAVING = shielded("leaving an MCP request of this process")
_SENDING = "sending a trace along with an MCP request"

serving: ContextVar[bool] = ContextVar("langfuse_integration_mcp_serving", default=False)
"""Whether our middleware has placed the request that is handled here."""


class InProcess:
    """A request handled in the process of its caller, on the caller's account; the span is the caller's row."""

    __slots__ = ("_call", "_placed", "_token")

    def __init__(self, call: McpCall) -> None:
        self._call = call
        self._placed: Placed | None = None

    def __enter__(self) -> trace_api.Span:
        self._token = current.set(None)  # a call that the handler makes is no part of its caller's
        try:
            # The row is current in a copy of the caller's context.
            if otel_api.get_context().get(otel_api.SPAN_KEY) is not self._call.row:
                placed = Placed(self._call.session, self._call.row)
                placed.__enter__()
                self._placed = placed
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_PLACING, error)
        return trace_api.INVALID_SPAN

    def __exit__(self, *outcome: object) -> None:
        try:  # as `reset_quietly`
            current.reset(self._token)
        except ValueError:
            pass
        if self._placed is not None:
            with _LEAVING:
                self._placed.__exit__(None, None, None)


class _NoSpan:
    """A context manager that gives a span which takes nothing, and changes nothing: what a row says comes from us."""

    __slots__ = ()

    def __enter__(self) -> trace_api.Span:
        return trace_api.INVALID_SPAN

    def __exit__(self, *outcome: object) -> None:
        return None


_NO_SPAN = _NoSpan()


def caller_of(meta: Any) -> McpCall | None:
    """Return the call of this process that a request with this `_meta` is, while it awaits its answer."""
    traceparent = meta.get("traceparent") if meta else None
    return open_rows.get(traceparent) if isinstance(traceparent, str) else None


def _client(attributes: Mapping[str, Any]) -> Any:
    call = current.get()
    if call is None or not call.open or call.row is None:
        return None
    if recorder.has_destinations or recorder.worker is None:
        call.note_ids({private.REQUEST_ID: attributes.get(private.REQUEST_ID)})
    return _NO_SPAN


def _around() -> Any:
    call = current.get()
    return call.around if call is not None else None


def _inject(meta: dict[str, Any]) -> bool:
    call = current.get()
    if call is None or not call.open or call.row is None:
        return False
    try:
        meta.update(propagation.outgoing(call.row, call.traceparent, call.connection.identified))
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_SENDING, error)
        return False
    return True


def _server(context: Any) -> Any:
    if type(context) is McpCall:
        return InProcess(context)
    return _NO_SPAN if serving.get() else None


def _broken(meta: Any, error: Exception) -> None:
    call = caller_of(meta)
    if call is not None:
        call.connection.broke(error)


def _unanswered(meta: Any) -> None:
    call = caller_of(meta)
    if call is not None and any(waiting is call for waiting in call.connection.in_flight.values()):
        call.transport_error = ConnectionError("the HTTP response ended without an answer")


def _posted(meta: Any, ids: Mapping[str, Any]) -> None:
    call = caller_of(meta)
    if call is not None:
        call.note_ids(ids)


_HOOKS = private.SdkHooks(
    _client, _inject, caller_of, _server, _around, propagation.headers, _broken, _unanswered, _posted
)
_holders: weakref.WeakSet[Any] = weakref.WeakSet()


def hold(holder: object) -> None:
    """Let the SDKs' spans give way while *holder*, a connection or a server, is there and not released.

    Where the application has a back end of its own for OpenTelemetry's spans they stay, as spans that Langfuse does not
    get.
    """
    _holders.add(holder)
    private.replace_spans(_HOOKS, kept=read_by_others())


def release(holder: object = None) -> None:
    """Give the SDKs' spans back, unless somebody else still holds them."""
    if holder is not None:
        _holders.discard(holder)
    if not _holders:
        private.restore_spans()

"""The server's side: what a handler records continues the caller's trace, in the caller's session where it tells.

    trace_server(server)      # FastMCP and Server of mcp 1.x, MCPServer and Server of 2.x, FastMCP of fastmcp

A request brings its caller's ids in `_meta`. What the handler records stands under the caller's row; the SDK's own
server span, which would be a second row for the same call, gives way. Destinations beside Langfuse have a span of the
server between the two. A request without ids is handled as if nothing were there.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Token
from typing import Any, TypeVar

from opentelemetry import context as context_api
from opentelemetry.context.context import Context

from langfuse_integration.internals.context_variables import reset_quietly
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import otel_api, otel_spans
from langfuse_integration.recording.placement import Placed
from langfuse_integration.recording.tracing import recorder
from langfuse_integration.sessions.session import Session

from . import private, propagation, served
from .call import McpCall, current
from .serving import caller_of, hold, serving

S = TypeVar("S")
Handler = Callable[..., Awaitable[Any]]
CallNext = Callable[[Any], Awaitable[Any]]

_PLACING = shielded("placing an MCP request")
_LEAVING = shielded("leaving an MCP request")


def trace_server(server: S, *, accept_identity: bool = True) -> S:
    """Continue the trace of every caller in *server*, and return it. Done twice it is done once.

    Args:
        server: a low-level `Server` of mcp 1.x or 2.x, or a `FastMCP` or `MCPServer` around one.
        accept_identity: take the session's and the user's id from callers that send them. A caller can claim to be
            anybody: switch it off where you do not know who calls.

    Raises:
        TypeError: it is none of these.
    """
    inner = private.lowlevel(server)
    middleware = getattr(inner, "middleware", None)
    handlers = getattr(inner, "request_handlers", None)
    if isinstance(middleware, list):
        if not any(isinstance(entry, TraceMiddleware) for entry in middleware):
            # Outermost, so that the SDK's own span, made by the next one, finds the request placed.
            middleware.insert(0, TraceMiddleware(accept_identity=accept_identity))
    elif isinstance(handlers, dict):
        if not isinstance(handlers, _Handlers):
            inner.request_handlers = _Handlers(handlers, accept_identity)
    else:
        raise TypeError(f"trace_server takes a server of mcp or fastmcp, not {type(server).__name__}.")
    hold(inner)
    return server


class TraceMiddleware:
    """A middleware for `Server.middleware` of mcp 2.x; it belongs at the beginning of the list."""

    def __init__(self, *, accept_identity: bool = True) -> None:
        self._accept_identity = accept_identity

    async def __call__(self, ctx: Any, call_next: CallNext) -> Any:
        """Handle one request, or notification, where its caller stands."""
        return await _handled(call_next, ctx, ctx.meta, self._accept_identity)


class _Handlers(dict[Any, Handler]):
    """The handlers of a server of mcp 1.x, which has no middleware: each is wrapped when it is registered."""

    def __init__(self, handlers: Mapping[Any, Handler], accept_identity: bool) -> None:
        super().__init__()
        self._accept_identity = accept_identity
        for kind, handler in handlers.items():
            self[kind] = handler

    def __setitem__(self, kind: Any, handler: Handler) -> None:
        super().__setitem__(kind, self._continued(handler))

    def _continued(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def handle(request: Any) -> Any:
            meta = private.plain_meta(getattr(getattr(request, "params", None), "meta", None))
            return await _handled(handler, request, meta, self._accept_identity)

        return handle


async def _handled(handler: Handler, request: Any, meta: Mapping[str, Any] | None, accept_identity: bool) -> Any:
    """Return what *handler* answers to a request, handled where its caller stands."""
    place = _placed(request, meta, accept_identity)
    if place is None:
        return await handler(request)
    result, failure = None, None
    try:
        result = await handler(request)
        return result
    except BaseException as error:
        failure = error
        raise
    finally:
        with _LEAVING:
            place.leave(result, failure)


class _PlacedRequest:
    """A `with` block around the handling of one request."""

    __slots__ = ("_context", "_placed", "_serving", "_span", "_within")

    def __init__(self, request: Any, context: Context, session: Session | None, parent: Any) -> None:
        self._context: Token[Context] = context_api.attach(context)
        # Until the worker has read the settings, they are asked themselves.
        has_destinations = recorder.has_destinations or recorder.worker is None
        self._span = served.span_of(request, session) if has_destinations and parent is None else None
        if parent is None:
            parent = self._span.anchor if self._span is not None else otel_spans.current_span()
        self._placed = Placed(session, parent)
        self._placed.__enter__()
        self._serving = serving.set(True)
        self._within: Token[McpCall | None] = current.set(None)

    def leave(self, result: Any, error: BaseException | None) -> None:
        reset_quietly(current, self._within)
        reset_quietly(serving, self._serving)
        self._placed.__exit__(None, None, None)
        otel_api.detach(self._context)
        if self._span is not None:
            self._span.end(result, error)


def _placed(request: Any, meta: Mapping[str, Any] | None, accept_identity: bool) -> _PlacedRequest | None:
    with _PLACING:
        caller = propagation.incoming(meta)
        if caller is None:
            return None
        call = caller_of(meta)
        context = caller.context
        key = private.fastmcp_key()
        if key is not None:
            context = context_api.set_value(key, True, context)
        if call is not None:
            return _PlacedRequest(request, context, call.session, call.row)
        return _PlacedRequest(request, context, caller.session if accept_identity else None, None)
    return None

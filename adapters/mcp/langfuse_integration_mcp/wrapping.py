"""Tracing one session or client: its bound methods are overridden on the instance, so that it stays what it is.

Two layers. The typed methods make the row, since they also see what is raised after an answer has come (a result that
does not fit its schema). `send_request` below them gives the request its `_meta`, and makes the row of a request that
is sent without a typed method.

    session     a `ClientSession` of mcp 1.x or 2.x, or of a subclass: both layers, and its callbacks
    client      an `mcp.Client` (2.x): the methods that may take several rounds, and the session inside
    fastmcp     a `fastmcp.Client`: only the session inside. It copies itself, so that nothing may hang on it that
                is bound to it
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from langfuse_integration.internals.faults import fault, shielded
from langfuse_integration.recording.tracing import recorder

from . import callbacks, private, readable, requests, serving
from .call import McpCall, current
from .connection import Connection, Policy
from .methods import ROUNDS, TYPED, Method, of_request

T = TypeVar("T")
Bound = Callable[..., Awaitable[Any]]
Wrapper = Callable[[Any, Connection, str, Bound], Bound]
Arguments = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""A request, and the further arguments of `send_request`."""

MARK = "_langfuse_connection"
"""The attribute of a traced object that holds its connection: `mcp.Client` is not hashable, so no table can."""

PROGRESS = 3
"""The place of the progress callback among the arguments of `send_request`, after the request."""

_STARTING = "starting the row of an MCP call"
_ENDING = "ending the row of an MCP call"
_PREPARING = "preparing an MCP request"
_WRAPPING = shielded("tracing an MCP session")
_LEARNING = shielded("reading an MCP handshake")


def wrap(
    target: T, server_name: str | None, policy: Policy, *, overwrite: bool = True, connection: Connection | None = None
) -> T:
    """Trace *target*, once; see `wrap_session`."""
    existing = connection_of(target)
    if existing is not None:
        if overwrite:
            existing.configure(server_name, policy)
        return target
    table = table_of(target)
    if connection is None:
        hollow = table is SESSION and private.is_hollow(target)
        connection = Connection(target, server_name, policy, hollow=hollow)
    with _WRAPPING:
        readable.register()
        serving.hold(connection)
        for name, wrapper in table.items():
            original = getattr(target, name, None)
            if original is not None:
                setattr(target, name, functools.wraps(original)(wrapper(target, connection, name, original)))
        if table:
            callbacks.wrap(target, connection)
        else:
            private.watch_fastmcp_sessions(_trace_inner_session)
        setattr(target, MARK, connection)
        if table is CLIENT:
            adopt(target, connection)
    return target


def unwrap(target: Any) -> None:
    """Undo `wrap`; calls in flight still end their rows."""
    connection = connection_of(target)
    if connection is None:
        return
    connection.on = False
    with _WRAPPING:
        _unwrap_inner(target, connection)
    for name in table_of(target):
        vars(target).pop(name, None)
    callbacks.unwrap(target)
    vars(target).pop(MARK, None)
    serving.release(connection)


def _unwrap_inner(target: Any, connection: Connection) -> None:
    try:
        session = target.session
    except (AttributeError, RuntimeError):  # it has none, or is not connected
        return
    if session is not target and connection_of(session) is connection:
        unwrap(session)


def connection_of(target: Any) -> Connection | None:
    """Return the connection of a traced object, or None when it is not traced."""
    connection = getattr(target, "__dict__", {}).get(MARK)
    return connection if isinstance(connection, Connection) else None


def table_of(target: Any) -> dict[str, Wrapper]:
    """Return which methods of *target* are overridden, and how.

    Raises:
        TypeError: it is neither a session nor a client.
    """
    if private.is_fastmcp_client(target):
        return {}
    if callable(getattr(target, "send_request", None)) and callable(getattr(target, "call_tool", None)):
        return SESSION
    if callable(getattr(target, "call_tool", None)) and hasattr(type(target), "session"):
        return CLIENT
    raise TypeError(
        f"wrap_session takes an mcp ClientSession or Client, not {type(target).__name__}: "
        "pass the session that talks to the server, or use instrument()."
    )


# -- how each method is overridden


def _typed(target: Any, connection: Connection, name: str, original: Bound) -> Bound:
    return _rowed(TYPED[name], connection, original, None)


def _rounds(target: Any, connection: Connection, name: str, original: Bound) -> Bound:
    return _rowed(ROUNDS[name], connection, original, target)


def _rowed(method: Method, connection: Connection, original: Bound, client: Any) -> Bound:
    adopting = client is not None and not hasattr(client, private.BUILD_SESSION)

    async def traced(*positional: Any, **named: Any) -> Any:
        if not connection.on:
            return await original(*positional, **named)
        if adopting:
            adopt(client, connection)
        call = _begun(connection, method, positional, named)
        try:
            result = await original(*positional, **named)
        except BaseException as error:
            if call is not None:
                _failed(call, error)
            raise
        if call is not None:
            try:
                call.answered(result)
            except Exception as error:  # noqa: BLE001  our own fault
                fault(_ENDING, error)
        return result

    return traced


def _passing(target: Any, connection: Connection, name: str, original: Bound) -> Bound:
    async def passing(*positional: Any, **named: Any) -> Any:
        if connection.on:
            adopt(target, connection)
        return await original(*positional, **named)

    return passing


def _building(target: Any, connection: Connection, name: str, original: Bound) -> Bound:
    async def build(*positional: Any, **named: Any) -> Any:
        session = await original(*positional, **named)
        if connection.on:
            with _WRAPPING:
                _take(session, connection)
        return session

    return build


def _sending(target: Any, connection: Connection, name: str, original: Bound) -> Bound:
    by_hand = requests.needs_meta(target)

    async def send_request(request: Any, *positional: Any, **named: Any) -> Any:
        if not connection.on:
            return await original(request, *positional, **named)
        call, raw = _call_of(connection, request)
        if call is None:
            return await original(request, *positional, **named)
        if by_hand or named.get("progress_callback") is not None or len(positional) > PROGRESS:
            request, positional, named = _prepared(call, by_hand, (request, positional, named))
        token = object()
        connection.in_flight[token] = call
        try:
            result = await original(request, *positional, **named)
        except BaseException as error:
            if raw:
                _failed(call, error)
            raise
        finally:
            connection.in_flight.pop(token, None)
        if not connection.settled:
            with _LEARNING:
                requests.learn(connection, request, result)
        if raw:
            _answered(call, result)
        return result

    return send_request


def _call_of(connection: Connection, request: Any) -> tuple[McpCall | None, bool]:
    """Return the call that *request* is part of, and whether it has just begun, with this request.

    The call is None when tracing is off, or when we fail.
    """
    call = current.get()
    raw = call is None or not (call.open and (call.connection is connection or call.connection.hollow))
    if call is None or raw:
        call = _begun_raw(connection, request)
    elif call.connection is not connection:
        call.serve(connection)
    if call is not None:
        call.sent = True
    return call, raw


def _prepared(call: McpCall, by_hand: bool, arguments: Arguments) -> Arguments:
    """Return the arguments of `send_request` with the trace's ids, and with the progress callback placed."""
    request, positional, named = arguments
    try:
        if by_hand and call.row is not None:
            request = requests.with_meta(call, call.row, request)
        positional, named = callbacks.with_progress(call, positional, named)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_PREPARING, error)
    return request, positional, named


def _begun(connection: Connection, method: Method, positional: Sequence[Any], named: dict[str, Any]) -> McpCall | None:
    """Begin a call; None when it is part of the one around it, when tracing is off, or when we fail."""
    around = current.get()
    if around is not None and around.open and (around.connection is connection or around.connection.hollow):
        if around.connection is not connection:
            around.serve(connection)
        return None
    if not recorder.enabled:
        return None
    try:
        subject, payload = method.read(positional, named)
        resumed = named.get("input_responses") is not None or named.get("request_state") is not None
        return McpCall(connection, method, subject, typed=True).begin(payload, resumed=resumed)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_STARTING, error)
        return None


def _begun_raw(connection: Connection, request: Any) -> McpCall | None:
    if not recorder.enabled:
        return None
    try:
        method, (subject, payload) = of_request(request)
        return McpCall(connection, method, subject, typed=False).begin(payload)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_STARTING, error)
        return None


def _answered(call: McpCall, result: Any) -> None:
    try:
        call.answered(result)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_ENDING, error)


def _failed(call: McpCall, error: BaseException) -> None:
    try:
        call.failed(error)
    except Exception as ours:  # noqa: BLE001  our own fault
        fault(_ENDING, ours)


def adopt(client: Any, connection: Connection) -> None:
    """Trace the session inside a client as one with it; a client makes a new one when it connects anew."""
    try:
        session = client.session
    except RuntimeError:  # not connected: the call itself says so
        return
    if connection_of(session) is not connection:
        with _WRAPPING:
            _take(session, connection)


def _take(session: Any, connection: Connection) -> None:
    existing = connection_of(session)
    if existing is connection:
        return
    if existing is not None:
        unwrap(session)
    wrap(session, None, Policy(), connection=connection)


def _trace_inner_session(client: Any, session: Any) -> None:
    """Trace the session inside a fastmcp client that is traced."""
    connection = connection_of(client)
    if connection is not None and connection.on:
        with _WRAPPING:
            _take(session, connection)


SESSION: dict[str, Wrapper] = {**dict.fromkeys(TYPED, _typed), "send_request": _sending}
CLIENT: dict[str, Wrapper] = {
    **dict.fromkeys(TYPED, _passing),
    **dict.fromkeys(ROUNDS, _rounds),
    private.BUILD_SESSION: _building,
}
"""One table for each kind; wrapping and unwrapping both go by it."""

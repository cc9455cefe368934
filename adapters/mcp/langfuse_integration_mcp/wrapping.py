"""Wrapping of one session or client: its bound methods are overridden on the instance, which keeps its class.

Two layers. The typed methods make the row, since they also see what is raised after an answer has come (a result that
does not fit its schema). `send_request` below them gives the request its `_meta`, and makes the row of a request that
is sent without a typed method.

    session     a `ClientSession` of mcp 1.x or 2.x, or of a subclass: both layers, and its callbacks
    client      an `mcp.Client` (2.x): the methods that may take several rounds, and the session inside
    fastmcp     a `fastmcp.Client`: the session inside, and on its class the methods that may take several rounds.
                It copies itself, so that nothing may hang on it that is bound to it
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from langfuse_integration.internals.faults import fault, shielded
from langfuse_integration.recording.tracing import recorder

from . import callbacks, lifecycle, private, readable, requests, serving
from .call import current
from .connection import Connection, Policy
from .methods import FASTMCP_ROUNDS, ROUNDS, TYPED, Method

T = TypeVar("T")
Bound = Callable[..., Awaitable[Any]]
Wrapper = Callable[[Any, Connection, str, Bound], Bound]

MARK = "_langfuse_connection"
"""The attribute of a traced object that holds its connection: `mcp.Client` is not hashable, so no table can."""

PROGRESS = 3
"""The place of the progress callback among the arguments of `send_request`, after the request."""

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
        private.hook_fastmcp_rounds(FASTMCP_ROUNDS, _fastmcp_rounds)
        private.hook_fastmcp_tasks(_for_task)
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
    connection.tasks.abandon()
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
    except (AttributeError, RuntimeError):  # no inner session, or not connected
        return
    if session is not target and connection_of(session) is connection:
        unwrap(session)


def connection_of(target: Any) -> Connection | None:
    """Return the connection of a traced object, or None when it is not traced."""
    connection = getattr(target, "__dict__", {}).get(MARK)
    return connection if isinstance(connection, Connection) else None


def table_of(target: Any) -> dict[str, Wrapper]:
    """Return the overrides for the methods of *target*.

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


# -- the overrides


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
        around = current.get()
        if around is not None and around.open and around.connection is connection:
            return await original(*positional, **named)
        call = lifecycle.begun(connection, method, positional, named)
        try:
            result = await original(*positional, **named)
        except BaseException as error:
            if call is not None:
                lifecycle.failed(call, error)
            raise
        if call is not None:
            try:
                call.answered(result)
            except Exception as error:  # noqa: BLE001  our own fault
                fault(lifecycle.ENDING, error)
        return result

    return traced


def _fastmcp_rounds(name: str, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def rounds(client: Any, *positional: Any, **named: Any) -> Any:
        connection = _fastmcp_connection(client)
        if connection is None or not connection.on:
            return await original(client, *positional, **named)
        bound = functools.partial(original, client)
        return await _rowed(FASTMCP_ROUNDS[name], connection, bound, None)(*positional, **named)

    return rounds


def _for_task(session: Any, task_id: str, callback: Any) -> Any:
    connection = connection_of(session)
    return callbacks.for_task(callback, connection, task_id) if connection is not None and connection.on else callback


def _fastmcp_connection(client: Any) -> Connection | None:
    """Return the connection of a fastmcp client that is traced, or of the session inside."""
    connection = connection_of(client)
    if connection is not None:
        return connection
    try:
        return connection_of(client.session)
    except RuntimeError:  # not connected: the call itself says so
        return None


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
        call, raw = lifecycle.call_of(connection, request)
        if call is None:
            return await original(request, *positional, **named)
        if by_hand or named.get("progress_callback") is not None or len(positional) > PROGRESS:
            request, positional, named = lifecycle.prepared(call, by_hand, (request, positional, named))
        token = object()
        connection.in_flight[token] = call
        exchange = lifecycle.exchange_of(call, request, target) if recorder.replayable else None
        if by_hand and (recorder.has_destinations or recorder.worker is None):
            lifecycle.number(call, target)
        try:
            result = await original(request, *positional, **named)
        except BaseException as error:
            lifecycle.unanswered(call if raw else None, exchange, error)
            raise
        finally:
            connection.in_flight.pop(token, None)
        if exchange is not None:
            exchange.answer(result)
        call.transport_error = None  # of a request that has its answer; the call may go on
        if not connection.settled:
            with _LEARNING:
                requests.learn(call, request, result)
        if raw:
            lifecycle.answered(call, result)
        return result

    return send_request


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

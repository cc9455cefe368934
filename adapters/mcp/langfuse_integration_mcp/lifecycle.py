"""The beginning and the end of calls for the methods that wrapping.py overrides; shields our own faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langfuse_integration.internals.faults import fault
from langfuse_integration.recording.tracing import recorder

from . import callbacks, private, requests
from .call import McpCall, current
from .connection import Connection
from .exchanges import McpExchange, aside
from .methods import Method, of_request

Arguments = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""A request, and the further arguments of `send_request`."""

ENDING = "ending the row of an MCP call"
_STARTING = "starting the row of an MCP call"
_PREPARING = "preparing an MCP request"


def call_of(connection: Connection, request: Any) -> tuple[McpCall | None, bool]:
    """Return the call that *request* is part of, and whether it has just begun, with this request.

    The call is None when tracing is off, or when we fail.
    """
    call = current.get()
    raw = call is None or not (call.open and (call.connection is connection or call.connection.hollow))
    if call is None or raw:
        call = begun_raw(connection, request)
    elif call.connection is not connection:
        call.serve(connection)
    if call is not None:
        call.sent = True
    return call, raw


def exchange_of(call: McpCall, request: Any, session: Any) -> McpExchange | None:
    """Note a request of *call* for the replay of its row; None when we fail.

    Args:
        session: the session that sends it. How it has discovered the server is no request that anybody sees.
    """
    try:
        discovered = getattr(session, "discover_result", None)
        if discovered is not None:
            aside.keep(call.connection.server, [McpExchange(None, "server/discover", discovered)])
        return call.request(request)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_PREPARING, error)
        return None


def number(call: McpCall, session: Any) -> None:
    """Note the id of the request that *session* sends next."""
    try:
        call.note_ids({private.REQUEST_ID: private.next_request_id(session)})
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_PREPARING, error)


def prepared(call: McpCall, by_hand: bool, arguments: Arguments) -> Arguments:
    """Return the arguments of `send_request` with the trace's ids, and with the progress callback placed."""
    request, positional, named = arguments
    try:
        if by_hand and call.row is not None:
            request = requests.with_meta(call, call.row, request)
        positional, named = callbacks.with_progress(call, positional, named)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_PREPARING, error)
    return request, positional, named


def begun(connection: Connection, method: Method, positional: Sequence[Any], named: dict[str, Any]) -> McpCall | None:
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


def begun_raw(connection: Connection, request: Any) -> McpCall | None:
    """Begin the call of a request that is sent without a typed method; None as in `begun`."""
    if not recorder.enabled:
        return None
    try:
        method, (subject, payload) = of_request(request)
        return McpCall(connection, method, subject, typed=False).begin(payload)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(_STARTING, error)
        return None


def answered(call: McpCall, result: Any) -> None:
    """End *call* with the server's answer."""
    try:
        call.answered(result)
    except Exception as error:  # noqa: BLE001  our own fault
        fault(ENDING, error)


def unanswered(call: McpCall | None, exchange: McpExchange | None, error: BaseException) -> None:
    """Note the exception that ended a request, and end the *call* that consists of this request only."""
    if exchange is not None:
        exchange.broke(error)
    if call is not None:
        failed(call, error)


def failed(call: McpCall, error: BaseException) -> None:
    """End *call* with an exception."""
    try:
        call.failed(error)
    except Exception as ours:  # noqa: BLE001  our own fault
        fault(ENDING, ours)

"""Attribution: the call, and so the session, that a server's question to the client belongs to."""

from __future__ import annotations

from typing import NamedTuple

from langfuse_integration.recording.anchor import Parent
from langfuse_integration.sessions.session import Session

from .call import McpCall
from .connection import Connection, InFlight


class Cause(NamedTuple):
    """The session and the parent of a server's question.

    Attributes:
        session: the session of the call that made the server ask, or None: untagged.
        parent: the row of that call, or the parent of a call without a row; None when no single call is certain.
    """

    session: Session | None
    parent: Parent | None


NOBODY = Cause(None, None)


def asked_during(connection: Connection, call: McpCall | None, traceparent: str | None) -> InFlight | None:
    """Return the call whose recording gets a message that the server sends now; None when none is in flight.

    Of several calls it is the first that the message can mean: unlike its session, its place may be a guess.

    Args:
        call, traceparent: see `cause`.
    """
    if call is not None and call.open and (call.connection is connection or call.connection.hollow):
        return call
    calls = list(dict.fromkeys(connection.in_flight.values()))
    if traceparent is not None:
        calls = _echoed(calls, traceparent) or calls
    return calls[0] if calls else None


def cause(connection: Connection, call: McpCall | None, traceparent: str | None) -> Cause:
    """Return the session and the parent of a question that the server asks now.

    Certain is: the call in whose context the question arrives; a call whose ids the server sends back; and, when all
    calls in flight belong to one session, that session. Anything else is nobody's: never guessed.

    Args:
        call: the call that is open in the context of the callback, or None.
        traceparent: what the server has sent along, or None.
    """
    if call is not None and call.open and (call.connection is connection or call.connection.hollow):
        return Cause(call.session, call.place)
    calls = list(dict.fromkeys(connection.in_flight.values()))
    if traceparent is not None:
        calls = _echoed(calls, traceparent) or calls
    if not calls or any(other.session != calls[0].session for other in calls):
        return NOBODY
    return Cause(calls[0].session, calls[0].place if len(calls) == 1 else None)


def _echoed(calls: list[InFlight], traceparent: str) -> list[InFlight]:
    """Return the calls that *traceparent* can mean: those of that very row, else those of that trace."""
    _, _, rest = traceparent.partition("-")
    trace, _, rest = rest.partition("-")
    span = rest[:16]
    of_trace = [call for call in calls if call.row is not None and call.row.trace_id == trace]
    return [call for call in of_trace if call.row is not None and call.row.id == span] or of_trace

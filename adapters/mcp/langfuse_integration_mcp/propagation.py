"""Propagation of the trace to a server and in it: W3C trace context and baggage in a request's `_meta`.

Unprefixed keys, as the protocol reserves them (SEP-414): `traceparent` always, with the ids of the row; `tracestate`
says that the row is in Langfuse; `baggage` carries `session.id` and `user.id` to servers that may know them, and to no
other: what an outer service has put there on their account is taken out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from sys import modules
from typing import Any, NamedTuple

from opentelemetry import baggage
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from langfuse_integration.recording import otel_api
from langfuse_integration.recording.observation import Observation
from langfuse_integration.sessions.session import Session

from . import private

IDENTITY = ("session.id", "user.id")
IDENTITY_OF_OTHERS = ("langfuse_session_id", "langfuse_user_id")
"""Baggage keys of IDENTITY as the Langfuse SDK writes them."""
PRIVATE = frozenset({*IDENTITY, *IDENTITY_OF_OTHERS})
IN_LANGFUSE = "langfuse-integration"
"""The vendor key in `tracestate`: the parent is a row of Langfuse, so nothing below it is the trace's root."""
IS_IN_LANGFUSE = f"{IN_LANGFUSE}=1"
CLAIMED = "langfuse_trace_id"
"""The baggage entry by which the Langfuse SDK says the same within a process."""
KEYS = ("traceparent", "tracestate", "baggage")

_traces = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()


def attach(row: Observation) -> Token[Context]:
    """Make *row* the current span for the time of the call; what it passes on names nobody."""
    entries = {**otel_api.get_context(), otel_api.SPAN_KEY: row, otel_api.ROW_KEY: row}
    if otel_api.BAGGAGE_KEY in entries:
        passed_on: Any = entries[otel_api.BAGGAGE_KEY]
        entries[otel_api.BAGGAGE_KEY] = {key: passed_on[key] for key in passed_on if key not in PRIVATE}
    if private.FASTMCP_TELEMETRY in modules:
        quiet = private.fastmcp_key()
        if quiet is not None:
            entries[quiet] = True
    return otel_api.set_context(Context(entries))


def outgoing(row: Observation, traceparent: str, identified: bool) -> dict[str, str]:
    """Return the entries for the `_meta` of a request; *row* has to be attached.

    Args:
        traceparent: the ids of *row*.
        identified: the server gets the session's and the user's id.
    """
    carrier = {"traceparent": traceparent, "tracestate": IS_IN_LANGFUSE}
    session = row.session if identified else None
    context = otel_api.get_context()
    if session is not None:
        for key, value in zip(IDENTITY, (session.session_id, session.user_id), strict=True):
            if value is not None:
                context = baggage.set_baggage(key, value, context)
    if context.get(otel_api.BAGGAGE_KEY):
        _baggage.inject(carrier, context)
    return carrier


def headers(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the trace context of a request's `_meta` as HTTP headers, for servers that read only those."""
    return {key: value for key in KEYS if isinstance(value := meta.get(key), str)}


class Incoming(NamedTuple):
    """The caller that a request names.

    Attributes:
        context: the caller's span as OpenTelemetry's current one, over what is current here.
        session: the caller's, or None when it does not tell.
    """

    context: Context
    session: Session | None


def incoming(meta: Mapping[str, Any] | None) -> Incoming | None:
    """Return the caller that a request's `_meta` names; None without a valid `traceparent`."""
    if not meta:
        return None
    carrier = {key: value for key in KEYS if isinstance(value := meta.get(key), str)}
    if "traceparent" not in carrier:
        return None
    context = _traces.extract(carrier, context_api.get_current())
    span = trace_api.get_current_span(context).get_span_context()
    if not span.is_valid or f"{span.trace_id:032x}" not in carrier["traceparent"]:
        return None
    entries = dict(baggage.get_all(_baggage.extract(carrier, Context())))
    session = _session(entries)
    for key, value in entries.items():
        if key not in PRIVATE:
            context = baggage.set_baggage(key, value, context)
    if IN_LANGFUSE in span.trace_state:
        context = baggage.set_baggage(CLAIMED, f"{span.trace_id:032x}", context)
    return Incoming(context, session)


def _session(entries: Mapping[str, object]) -> Session | None:
    session_id, user_id = (entries.get(key) for key in IDENTITY)
    if session_id is None and user_id is None:
        return None
    try:
        return Session(_text(session_id), _text(user_id))
    except (TypeError, ValueError):
        return None  # a foreign client may send any value


def _text(value: object) -> str | None:
    return None if value is None else str(value)

"""Propagation of trace and session between services, in request headers.

    httpx.get(url, headers=inject({}))           # here; or once, for all that a client sends:
    httpx.Client(event_hooks={"request": [lambda request: inject(request.headers)]})
    requests.get(url, headers=inject({}))

    with extract(request.headers):               # there: what starts inside joins the caller's trace and session
        ...

The headers are W3C Trace Context's `traceparent` and W3C Baggage, written and read by OpenTelemetry's propagators. The
baggage entry `langfuse_trace_id` says that the caller's observation is in Langfuse, so that nothing below it is taken
for the root (Langfuse SDK 5). A stranger can write any header: extract only what comes from services of your own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar

from .internals.event_loops import in_event_loop
from .internals.faults import shielded, warn_once
from .recording import ambient, process_end, tracing
from .recording.anchor import Parent
from .sessions.blocks import Scope
from .sessions.session import Session

HeadersT = TypeVar("HeadersT", bound=MutableMapping[str, str])

SESSION_ENTRIES = ("session.id", "langfuse_session_id")
USER_ENTRIES = ("user.id", "langfuse_user_id")
"""Baggage entries, ours first; the second is that of Langfuse's own SDK (4.7 to 5.0) in the other service."""
CLAIM = "langfuse_trace_id"

_INJECTING = shielded("writing the session into a request's headers")
_EXTRACTING = shielded("reading the session out of a request's headers")


def inject(headers: HeadersT) -> HeadersT:
    """Write the current trace and session into *headers*, and return them.

    What the context carries in its baggage goes along, but a session that came in with a request and was not
    extracted does not: the next service takes our word for it.

    Args:
        headers: a dict, `httpx.Headers`, or any other mapping of text.
    """
    with _INJECTING:
        parent = ambient.current()
        session, _ = tracing.store.resolve(parent)
        _write(headers, parent, session)
    return headers


def inject_from(row: Parent, headers: HeadersT) -> HeadersT:
    """Write the trace and session of *row* into *headers*, and return them: for adapters, whose rows are not current.

    Args:
        row: what stands above the work of the other service.
        headers: a mapping of text.
    """
    with _INJECTING:
        _write(headers, row, row.session)
    return headers


def _write(headers: MutableMapping[str, str], parent: Parent | None, session: Session | None) -> None:
    from opentelemetry import baggage, trace
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    from .recording.otel_api import get_context, span_context

    context = get_context()
    trace_id = f"{parent.trace:032x}" if parent is not None else None
    claimed = parent is not None and (parent.exported or baggage.get_baggage(CLAIM, context) == trace_id)
    entries = {
        **dict.fromkeys(SESSION_ENTRIES, session.session_id if session is not None else None),
        **dict.fromkeys(USER_ENTRIES, session.user_id if session is not None else None),
        CLAIM: trace_id if claimed else None,
    }
    for name, value in entries.items():
        if value is None:
            context = baggage.remove_baggage(name, context)
        else:
            context = baggage.set_baggage(name, value, context)
    if parent is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(span_context(parent.trace, parent.span)), context)
    TraceContextTextMapPropagator().inject(headers, context)
    W3CBaggagePropagator().inject(headers, context)


def extract(headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]) -> Extracted:
    """Return a `with` or `async with` block in the trace and the session that *headers* tell of.

    Headers that say nothing, or nothing that can be read, change nothing.

    Args:
        headers: a mapping, or pairs of name and value as ASGI has them; names in any case.
    """
    return Extracted(headers)


class Extracted:
    """A `with` or `async with` block that continues a caller's trace and session.

    Attributes:
        session: what the headers tell, or None.
    """

    __slots__ = ("_baggage", "_scope", "_span", "_token", "session")

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]) -> None:
        self.session: Session | None = None
        self._span: Any = None
        self._baggage: Mapping[str, object] = {}
        self._scope: Scope | None = None
        self._token: Token[Any] | None = None
        with _EXTRACTING:
            self._read(_texts(headers))

    def _read(self, headers: dict[str, str]) -> None:
        from opentelemetry import baggage, trace
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.context.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = trace.get_current_span(TraceContextTextMapPropagator().extract(headers, Context()))
        self._span = span if span.get_span_context().is_valid else None
        self._baggage = baggage.get_all(W3CBaggagePropagator().extract(headers, Context()))
        self.session = self._told()

    def _told(self) -> Session | None:
        ids = [
            next((str(self._baggage[name]) for name in names if self._baggage.get(name)), None)
            for names in (SESSION_ENTRIES, USER_ENTRIES)
        ]
        if ids == [None, None]:
            return None
        try:
            return Session(*ids)
        except ValueError as error:
            warn_once("extracted", "a request's baggage holds a session that is left out: %s", error)
            return None

    def join(self) -> None:
        """Make the caller's span and baggage current, without its session: for who has a cell of their own."""
        if self._span is None and not self._baggage:
            return
        with _EXTRACTING:
            from opentelemetry import baggage, trace

            from .recording.otel_api import get_context, set_context

            context = get_context()
            if self._span is not None:
                context = trace.set_span_in_context(self._span, context)
            for name, value in self._baggage.items():
                context = baggage.set_baggage(name, value, context)
            self._token = set_context(context)

    def leave(self) -> None:
        """End the block that `join` began."""
        if self._token is not None:
            from .recording.otel_api import detach

            detach(self._token)
            self._token = None

    def __enter__(self) -> Extracted:
        if self.session is not None:
            self._scope = tracing.store.scoped(self.session)
            self._scope.__enter__()
        self.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(kind, error, trace)
        if process_end.ends_unheard() and not in_event_loop():
            process_end.write_here()

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()
        if self._scope is not None:
            self._scope.__exit__(kind, error, trace)

    async def __aenter__(self) -> Extracted:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(kind, error, trace)
        if process_end.ends_unheard():
            from asyncio import to_thread

            await to_thread(process_end.write_here)


def _texts(headers: Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]) -> dict[str, str]:
    """Return the two headers that count, by their names in lower case; a header that came in parts is put together."""
    found: dict[str, str] = {}
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        known: str = (name.decode("latin-1") if isinstance(name, bytes) else name).lower()
        if known in ("traceparent", "tracestate", "baggage"):
            text: str = value.decode("latin-1") if isinstance(value, bytes) else value
            found[known] = f"{found[known]},{text}" if known in found else text
    return found

"""A request as its server sees it, as a span of kind SERVER: for destinations beside Langfuse, which has a row a call.

The span stands below the caller's row, and what the handler records below the span. It has no contents: the caller's
row has them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.status import Status, StatusCode

from langfuse_integration.encoding.attributes import METADATA, TYPE, span_attributes
from langfuse_integration.encoding.row import SCOPE
from langfuse_integration.recording import otel_api
from langfuse_integration.recording.ids import new_bits
from langfuse_integration.recording.otel_spans import BELOW_ROW, SpanAnchor, current_span
from langfuse_integration.recording.tracing import recorder
from langfuse_integration.sessions.session import Session
from langfuse_integration.settings import settings

from . import failures, readable
from .methods import CALL_TOOL, READ_RESOURCE, SUBJECTS
from .private import ServedRequest


class ServerSpan:
    """The span of one request, from its arrival to its answer.

    Args:
        request: what is known of it.
        session: of the caller, or None when it does not tell.

    Attributes:
        anchor: the parent of what the handler records: in Langfuse the caller's row, elsewhere this span.
    """

    __slots__ = ("_clock_ns", "_request", "_session", "_span", "_started_ns", "anchor")

    def __init__(self, request: ServedRequest, session: Session | None) -> None:
        self._started_ns, self._clock_ns = time.time_ns(), time.perf_counter_ns()
        self._request = request
        self._session = session
        self._span = new_bits(64) ^ self._started_ns or 1
        caller = current_span()
        assert caller is not None
        self.anchor = SpanAnchor(caller.trace, caller.span, exported=caller.exported)
        self.anchor.companion = self._span
        self.anchor.root = self.anchor.repeats = self.anchor.above = self.anchor.row = None

    def end(self, result: Any, error: BaseException | None) -> None:
        """Pass the span to the destinations, with the answer, or the exception that there is in its place."""
        request, kind, message = self._request, None, ""
        if error is not None:
            kind, message = failures.kind_and_status(failures.innermost(error))
        elif request.method == CALL_TOOL.wire and _is_error(result):
            kind = "tool_error"
        subject = self._subject()
        attributes = dict[str, Any](span_attributes(self._session) if self._session is not None else {})
        attributes |= request.attributes
        if self.anchor.exported:
            attributes[BELOW_ROW] = True
        attributes[TYPE] = "tool" if request.method == CALL_TOOL.wire else "span"
        metadata = {
            "mcp_method": request.method,
            SUBJECTS.get(request.method, ""): subject,
            "mcp_protocol_version": request.version,
            "mcp_transport": request.transport,
            "mcp_error_type": kind,
        }
        attributes |= {METADATA + key: value for key, value in metadata.items() if key and value is not None}
        trace, caller = self.anchor.trace, self.anchor.span
        recorder.accompany(
            ReadableSpan(
                f"{request.method} {subject}" if subject else request.method,
                otel_api.span_context(trace, self._span),
                otel_api.span_context(trace, caller),
                attributes=attributes,
                kind=trace_api.SpanKind.SERVER,
                status=Status(StatusCode.ERROR, message) if kind is not None else Status(),
                start_time=self._started_ns,
                end_time=self._started_ns + time.perf_counter_ns() - self._clock_ns,
                instrumentation_scope=InstrumentationScope(SCOPE),
            )
        )

    def _subject(self) -> str | None:
        """Return the tool, the resource or the prompt that the request names."""
        params = self._request.params
        key = "uri" if self._request.method == READ_RESOURCE.wire else "name"
        subject = params.get(key) if isinstance(params, Mapping) else getattr(params, key, None)
        return str(subject) if subject is not None else None


def _is_error(result: Any) -> bool:
    """Return whether a tool's result reports a failure: the SDK's result, with a root in mcp 1.x, or plain values."""
    if isinstance(result, Mapping):
        return cast("Mapping[str, Any]", result).get("isError") is True
    return readable.is_error(getattr(result, "root", result))


def span_of(request: Any, session: Session | None) -> ServerSpan | None:
    """Return the span of a request whose caller is current; None where no destination gets it.

    Args:
        request: a request of mcp 1.x, or the context of one of 2.x.
        session: of the caller, or None.
    """
    if not (recorder.has_destinations or (recorder.worker is None and settings().all_destinations)):
        return None
    if not trace_api.get_current_span().get_span_context().trace_flags.sampled:
        return None
    return ServerSpan(ServedRequest.of(request), session)

"""A row: one finished observation as it lies in the journal and goes over the wire."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..attributes import attributes_of
from ..fields import Fields
from ..observation import Observation

SCOPE = "langfuse-integration"
ERROR = 2
"""`opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR`."""

USES = 32
"""Rows that are encoded with one message."""
LARGE_BYTES = 64 * 1024
LAST_NS = 2**63 - 1
"""The last time that SQLite can hold; OTLP goes further."""


class Row(NamedTuple):
    """One observation, encoded.

    Attributes:
        span_id, trace_id, parent_id: hex text; parent_id is empty in a root.
        body: a whole OTLP `ExportTraceServiceRequest` with this one span. Requests put one after the other are a
            request with all their spans (protobuf merges repeated fields), so that a batch is a plain join.
    """

    span_id: str
    trace_id: str
    parent_id: str
    session_id: str | None
    user_id: str | None
    name: str
    type: str
    level: str
    started_ns: int
    ended_ns: int
    body: bytes


class Encoder:
    """Turns observations, and spans of others, into rows. For one thread.

    Args:
        fields: masks, cuts and writes single values.
        environment, release: stamped on every row.
        resource: attributes of this process, as OpenTelemetry names them.

    Attributes:
        written: the attributes of the row that was made last.
    """

    def __init__(self, fields: Fields, environment: str | None, release: str | None, resource: dict[str, str]) -> None:
        self._fields = fields
        self._constant = {
            key: value
            for key, value in (("langfuse.environment", environment), ("langfuse.release", release))
            if value is not None
        }
        self._resource = resource
        self._uses = 0
        self.written: dict[str, Any] = {}

    def attributes(self, observation: Observation) -> dict[str, Any]:
        """Return everything that is sent of *observation*, by attribute name."""
        return {**self._constant, **attributes_of(observation, self._fields)}

    def row(self, observation: Observation, ended_ns: int | None = None) -> Row:
        """Return the row of an observation of ours; *ended_ns* stands in for one that never ended."""
        attributes = self.attributes(observation)
        span = self._span(SCOPE)
        span.trace_id = observation.trace.to_bytes(16, "big")
        span.span_id = observation.span.to_bytes(8, "big")
        if observation.parent:
            span.parent_span_id = observation.parent.to_bytes(8, "big")
        span.name = clean(str(observation.name))
        span.kind = 1
        span.start_time_unix_nano = observation.started_ns
        span.end_time_unix_nano = observation.ended_ns or ended_ns or observation.started_ns
        put(span.attributes, attributes)
        if observation.level == "ERROR":
            span.status.code = ERROR
            span.status.message = clean(str(attributes.get("langfuse.observation.status_message", "")))
        return self._row(span, attributes)

    def readable(self, found: Any) -> Row:
        """Return the row of a span of the OpenTelemetry SDK; it may be open, and be changed meanwhile."""
        raw = self._fields.raw
        told = (found.attributes or {}).copy()
        attributes = {**self._constant, **{key: raw(key, value) for key, value in told.items()}}
        scope = found.instrumentation_scope
        span = self._span(scope.name if scope else "", (scope.version or "") if scope else "")
        context = found.get_span_context()
        span.trace_id = context.trace_id.to_bytes(16, "big")
        span.span_id = context.span_id.to_bytes(8, "big")
        if found.parent is not None:
            span.parent_span_id = found.parent.span_id.to_bytes(8, "big")
        span.name = clean(found.name)
        span.kind = found.kind.value + 1
        span.start_time_unix_nano = found.start_time or 0
        span.end_time_unix_nano = found.end_time or found.start_time or 0
        put(span.attributes, attributes)
        span.status.code = found.status.status_code.value
        span.status.message = clean(self._fields.text(found.status.description)) if found.status.description else ""
        for event in found.events:
            noted = span.events.add(time_unix_nano=event.timestamp, name=clean(event.name))
            put(noted.attributes, {key: raw(key, value) for key, value in (event.attributes or {}).items()})
        return self._row(span, attributes)

    def _span(self, scope: str, version: str = "") -> Any:
        if self._uses <= 0:
            self._begin()
        self._uses -= 1
        scoped = self._scoped
        del scoped.spans[:]
        scoped.scope.name = scope
        scoped.scope.version = version
        return scoped.spans.add()

    def _begin(self) -> None:
        # One message for several rows, emptied of its span each time, saves filling in the resource. Not for many: a
        # message keeps the memory of what it once held until it goes (protobuf 7, upb).
        self._request = ExportTraceServiceRequest()
        resources = self._request.resource_spans.add()
        put(resources.resource.attributes, self._resource)
        self._scoped = resources.scope_spans.add()
        self._uses = USES

    def _row(self, span: Any, attributes: dict[str, Any]) -> Row:
        self.written = attributes
        body = self._request.SerializeToString()
        if len(body) > LARGE_BYTES:
            self._uses = 0
        return _row(span, attributes, body)


def row_of(request: Any) -> Row:
    """Return the row of an OTLP request with one span."""
    span = request.resource_spans[0].scope_spans[0].spans[0]
    attributes = {entry.key: entry.value.string_value for entry in span.attributes}
    return _row(span, attributes, request.SerializeToString())


def _row(span: Any, attributes: dict[str, Any], body: bytes) -> Row:
    get = attributes.get
    return Row(
        span.span_id.hex(),
        span.trace_id.hex(),
        span.parent_span_id.hex(),
        _column(get("session.id")),
        _column(get("user.id")),
        span.name,
        _column(get("langfuse.observation.type")) or "span",
        _column(get("langfuse.observation.level")) or ("ERROR" if span.status.code == ERROR else "DEFAULT"),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        body,
    )


def put(target: Any, attributes: Any) -> None:
    """Add *attributes* to a protobuf list of key and value."""
    add = target.add
    for key, value in attributes.items():
        if value is None:
            continue
        entry = add()
        entry.key = clean(key)
        if isinstance(value, str):
            try:
                entry.value.string_value = value
            except UnicodeError:
                entry.value.string_value = clean(value)
        elif isinstance(value, bool):
            entry.value.bool_value = value
        elif isinstance(value, int):
            entry.value.int_value = max(min(value, 2**63 - 1), -(2**63))
        elif isinstance(value, float):
            entry.value.double_value = value
        else:
            values = entry.value.array_value.values
            for item in value:
                values.add().string_value = clean(str(item))


def _column(value: Any) -> str | None:
    """Return an attribute as a column takes it: spans of others may set it to anything."""
    return None if value is None else clean(str(value))


def clean(text: str) -> str:
    """Return *text* without lone surrogates, which no encoding has."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

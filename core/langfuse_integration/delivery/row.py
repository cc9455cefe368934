"""A row: one finished observation as it lies in the journal and goes over the wire."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..attributes import attributes_of
from ..observation import Observation
from ..fields import Fields

SCOPE = "langfuse-integration"
_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR


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
    """Turns observations, and spans of others, into rows.

    Args:
        fields: masks, cuts and writes single values.
        environment, release: stamped on every row.
        resource: attributes of this process, as OpenTelemetry names them.
    """

    def __init__(self, fields: Fields, environment: str | None, release: str | None, resource: dict[str, str]) -> None:
        self._fields = fields
        self._constant = {
            key: value
            for key, value in (("langfuse.environment", environment), ("langfuse.release", release))
            if value is not None
        }
        self._resource = resource

    def attributes(self, observation: Observation) -> dict[str, Any]:
        """Return everything that is sent of *observation*, by attribute name."""
        return {**self._constant, **attributes_of(observation, self._fields)}

    def row(self, observation: Observation, ended_ns: int | None = None) -> Row:
        """Return the row of an observation of ours; *ended_ns* stands in for one that never ended."""
        attributes = self.attributes(observation)
        end = observation.ended_ns or ended_ns or observation.started_ns
        request, span = self._request(SCOPE)
        span.trace_id = observation.trace.to_bytes(16, "big")
        span.span_id = observation.span.to_bytes(8, "big")
        if observation.parent:
            span.parent_span_id = observation.parent.to_bytes(8, "big")
        span.name = clean(str(observation.name))
        span.kind = 1
        span.start_time_unix_nano = observation.started_ns
        span.end_time_unix_nano = end
        put(span.attributes, attributes)
        if observation.level == "ERROR":
            span.status.code = _ERROR
            span.status.message = attributes.get("langfuse.observation.status_message", "")
        return self._row(span, attributes, request)

    def readable(self, found: Any) -> Row:
        """Return the row of a finished OpenTelemetry `ReadableSpan` of somebody else."""
        attributes = {**self._constant, **{key: self._fields.raw(key, value) for key, value in (found.attributes or {}).items()}}
        scope = found.instrumentation_scope
        request, span = self._request(scope.name if scope else "", (scope.version or "") if scope else "")
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
        span.status.message = clean(found.status.description or "")
        for event in found.events:
            noted = span.events.add(time_unix_nano=event.timestamp, name=clean(event.name))
            put(noted.attributes, event.attributes or {})
        return self._row(span, attributes, request)

    def _request(self, scope: str, version: str = "") -> tuple[Any, Any]:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        put(resource.resource.attributes, self._resource)
        scoped = resource.scope_spans.add()
        scoped.scope.name = scope
        if version:
            scoped.scope.version = version
        return request, scoped.spans.add()

    @staticmethod
    def _row(span: Any, attributes: dict[str, Any], request: Any) -> Row:
        return Row(
            span.span_id.hex(),
            span.trace_id.hex(),
            span.parent_span_id.hex(),
            _column(attributes.get("session.id")),
            _column(attributes.get("user.id")),
            span.name,
            _column(attributes.get("langfuse.observation.type")) or "span",
            _column(attributes.get("langfuse.observation.level"))
            or ("ERROR" if span.status.code == _ERROR else "DEFAULT"),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            request.SerializeToString(),
        )


def put(target: Any, attributes: Any) -> None:
    """Add *attributes* to a protobuf list of key and value."""
    for key, value in attributes.items():
        if value is None:
            continue
        entry = target.add()
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

"""A row: one finished observation as it lies in the journal and goes over the wire."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..attributes import attributes_of
from ..fields import Fields
from ..observation import Observation
from . import wire

SCOPE = "langfuse-integration"
INTERNAL = 1
"""`Span.SPAN_KIND_INTERNAL`."""
LAST_NS = 2**63 - 1
"""The last time that SQLite can hold; OTLP goes further."""
_SCOPE = wire.scope_field(SCOPE, "")


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
        self._resource = wire.field(b"\x0a", wire.attributes_field(wire.RESOURCE_ATTRIBUTE, resource))
        self.written: dict[str, Any] = {}

    def attributes(self, observation: Observation) -> dict[str, Any]:
        """Return everything that is sent of *observation*, by attribute name."""
        return {**self._constant, **attributes_of(observation, self._fields)}

    def row(self, observation: Observation, ended_ns: int | None = None) -> Row:
        """Return the row of an observation of ours; *ended_ns* stands in for one that never ended."""
        self.written = attributes = self.attributes(observation)
        name = clean(str(observation.name))
        end_ns = observation.ended_ns or ended_ns or observation.started_ns
        failed = observation.level == "ERROR"
        message = str(attributes.get("langfuse.observation.status_message", "")) if failed else ""
        parts = [
            wire.ids(observation.trace, observation.span, observation.parent),
            wire.field(wire.NAME, name.encode()),
            wire.times(INTERNAL, observation.started_ns, end_ns),
            wire.status(wire.ERROR, message) if failed else b"",
        ]
        return Row(
            observation.id,
            observation.trace_id,
            observation.parent_id or "",
            _column(attributes.get("session.id")),
            _column(attributes.get("user.id")),
            name,
            _column(attributes.get("langfuse.observation.type")) or "span",
            _column(attributes.get("langfuse.observation.level")) or "DEFAULT",
            observation.started_ns,
            end_ns,
            self._body(_SCOPE, parts, attributes),
        )

    def readable(self, found: Any) -> Row:
        """Return the row of a span of the OpenTelemetry SDK; it may be open, and be changed meanwhile."""
        raw = self._fields.raw
        told = (found.attributes or {}).copy()
        self.written = attributes = {**self._constant, **{key: raw(key, value) for key, value in told.items()}}
        scope, context, parent = found.instrumentation_scope, found.get_span_context(), found.parent
        name, code = clean(found.name), found.status.status_code.value
        started_ns = found.start_time or 0
        ended_ns = found.end_time or started_ns
        parts = [
            wire.ids(context.trace_id, context.span_id, parent.span_id if parent is not None else 0),
            wire.field(wire.NAME, name.encode()),
            wire.times(found.kind.value + 1, started_ns, ended_ns),
            wire.status(code, self._fields.text(found.status.description) if found.status.description else ""),
        ]
        for event in found.events:
            noted = {key: raw(key, value) for key, value in (event.attributes or {}).items()}
            parts.append(wire.event(event.timestamp, event.name, noted))
        return Row(
            f"{context.span_id:016x}",
            f"{context.trace_id:032x}",
            f"{parent.span_id:016x}" if parent is not None else "",
            _column(attributes.get("session.id")),
            _column(attributes.get("user.id")),
            name,
            _column(attributes.get("langfuse.observation.type")) or "span",
            _column(attributes.get("langfuse.observation.level")) or ("ERROR" if code == wire.ERROR else "DEFAULT"),
            started_ns,
            ended_ns,
            self._body(wire.scope_field(scope.name, scope.version or "") if scope else b"", parts, attributes),
        )

    def _body(self, scope: bytes, parts: list[bytes], attributes: dict[str, Any]) -> bytes:
        size = sum(map(len, parts)) + wire.put(parts, wire.ATTRIBUTE, attributes)
        return wire.request(self._resource, scope, parts, size)


def row_of(request: Any) -> Row:
    """Return the row of an OTLP request with one span."""
    span = request.resource_spans[0].scope_spans[0].spans[0]
    get = {entry.key: entry.value.string_value for entry in span.attributes}.get
    return Row(
        span.span_id.hex(),
        span.trace_id.hex(),
        span.parent_span_id.hex(),
        get("session.id"),
        get("user.id"),
        span.name,
        get("langfuse.observation.type") or "span",
        get("langfuse.observation.level") or ("ERROR" if span.status.code == wire.ERROR else "DEFAULT"),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        request.SerializeToString(),
    )


def _column(value: Any) -> str | None:
    """Return an attribute as a column takes it: spans of others may set it to anything."""
    if type(value) is str and value.isascii():
        return value
    return None if value is None else clean(str(value))


def clean(text: str) -> str:
    """Return *text* without lone surrogates, which no encoding has."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

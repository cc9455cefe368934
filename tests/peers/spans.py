"""Span: a span as a receiver got it, in plain Python values, and the trees that spans make.

Ids are lower-case hexadecimal strings, times are Unix nanoseconds, attributes are what `AnyValue` of OTLP 1.x holds.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

MISSING_PARENT = "(missing parent)"
"""The label of the node that stands in a tree for a parent which never arrived."""

APP_ROOT = "langfuse.internal.is_app_root"
"""Langfuse takes a span with this attribute for a root even if it names a parent (server 4.16)."""

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")
_ID_MEMBERS = frozenset({"traceId", "spanId", "parentSpanId"})

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
Node: TypeAlias = tuple[Any, ...]
"""A label, then the nodes of the children: `("agent", ("think",), ("act",))`."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span."""

    name: str
    at_ns: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """One span as it arrived. *parent_id* is None for a root; *scope* is the name of the instrumentation scope."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    status: str
    status_message: str
    events: tuple[Event, ...]
    links: tuple[tuple[str, str], ...]
    scope: str
    scope_version: str
    resource: Mapping[str, Any]

    @property
    def session_id(self) -> str | None:
        """The attribute `session.id`."""
        return self.attributes.get("session.id")

    @property
    def user_id(self) -> str | None:
        """The attribute `user.id`."""
        return self.attributes.get("user.id")

    @property
    def type(self) -> str | None:
        """The attribute `langfuse.observation.type`."""
        return self.attributes.get("langfuse.observation.type")

    @property
    def input(self) -> Any:
        """The observation's input, read from its JSON; text that is no JSON is itself, as in Langfuse. Or None."""
        return _json(self.attributes.get("langfuse.observation.input"))

    @property
    def output(self) -> Any:
        """The observation's output, read like the input."""
        return _json(self.attributes.get("langfuse.observation.output"))


def parse(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Read an OTLP trace request in protobuf or, if *content_type* says so, in JSON (ids in hexadecimal).

    Raises:
        ValueError: The body is malformed, or a span has a malformed id: such a span rejects its whole batch.
    """
    message = ExportTraceServiceRequest()
    try:
        if content_type.startswith("application/json"):
            plain = json.loads(body, object_pairs_hook=_with_base64_ids)
            json_format.ParseDict(plain, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, json_format.ParseError) as error:
        raise ValueError(str(error)) from error
    for span in wire_spans(message):
        if len(span.trace_id) != 16 or not any(span.trace_id) or len(span.span_id) != 8 or not any(span.span_id):
            raise ValueError(f"span {span.name!r}: malformed id {span.trace_id.hex()!r}/{span.span_id.hex()!r}")
        if len(span.parent_span_id) not in (0, 8):
            raise ValueError(f"span {span.name!r}: malformed parent id {span.parent_span_id.hex()!r}")
    return message


def wire_spans(message: ExportTraceServiceRequest) -> Iterator[WireSpan]:
    """Yield the spans of *message* as they are on the wire."""
    return (span for part in message.resource_spans for scope in part.scope_spans for span in scope.spans)


def decoded(message: ExportTraceServiceRequest) -> tuple[Span, ...]:
    """Return the spans of *message* in plain values, in their order."""
    return tuple(
        _span(span, scope.scope.name, scope.scope.version, resource)
        for part in message.resource_spans
        for resource in (_attributes(part.resource.attributes),)
        for scope in part.scope_spans
        for span in scope.spans
    )


def tree(
    spans: Iterable[Span], label: Callable[[Span], Any] = attrgetter("name"), *, ordered: bool = True
) -> list[Node]:
    """Return the trees that *spans* make, as nested tuples: `[("agent", ("think",), ("act",))]`.

    A node is `(label, *children)`. Roots and children stand in the order of their start; with *ordered* False (work
    that runs side by side) in the order of their labels. Of a span id that came twice the last counts, as in Langfuse.
    A span whose parent is not among *spans* stands under a node `MISSING_PARENT`, unless it says that it is the
    application's root: so a whole-tree assertion fails on an orphan.
    """
    last = {(span.trace_id, span.span_id): span for span in spans}
    children: defaultdict[tuple[str, str] | None, list[Span]] = defaultdict(list)
    orphans: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in last.values():
        parent = None if span.parent_id is None else (span.trace_id, span.parent_id)
        if parent is None or parent in last:
            children[parent].append(span)
        elif span.attributes.get(APP_ROOT) is True:
            children[None].append(span)
        else:
            orphans[parent].append(span)

    def nodes(siblings: list[Span]) -> list[Node]:
        built = [
            (label(span), *nodes(children[span.trace_id, span.span_id])) for span in sorted(siblings, key=_position)
        ]
        return built if ordered else sorted(built, key=repr)

    forest = nodes(children[None])
    for group in sorted(orphans.values(), key=lambda group: min(map(_position, group))):
        forest.append((MISSING_PARENT, *nodes(group)))
    return forest


def _position(span: Span) -> tuple[int, int, str]:
    return (span.start_ns, -span.end_ns, span.name)


def _span(span: WireSpan, scope: str, scope_version: str, resource: Mapping[str, Any]) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        name=span.name,
        kind=KINDS[span.kind],
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status=STATUSES[span.status.code],
        status_message=span.status.message,
        events=tuple(Event(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        scope=scope,
        scope_version=scope_version,
        resource=resource,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case field:
            plain: Value = getattr(value, field)
            return plain


def _json(value: object) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _with_base64_ids(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of OTLP JSON, whose ids are hexadecimal, with the base64 that protobuf's JSON mapping reads."""
    return {key: _base64(value) if key in _ID_MEMBERS else value for key, value in members}


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()

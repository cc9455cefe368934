"""Translation: rows as they go to a server that is no Langfuse.

What a server may have is what Langfuse gets, less what its `capture` leaves out, plus what its conventions add.
Attributes of this package that are for the local journal only go nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from .attributes import TYPE
from .conventions import attributes_of, genai, mcp
from .conventions.reading import TranslatedRow
from .fields import Fields
from .observed import value_of
from .otlp import ASKED_MODEL, BESIDE, COMPANION
from .row import FORMER_SCOPE, INTERNAL, SCOPE

LOCAL = "langfuse_integration."
"""The prefix of attributes that are for the local journal only."""
OWN_SCOPES = frozenset({SCOPE, FORMER_SCOPE})


class Translation:
    """Translates rows for one destination.

    Args:
        conventions: the conventions whose attributes are added, and by whose rules rows are named.
        capture: what of the contents goes there; what the row does not have any more is not restored.
        companions: whether spans of other libraries go there as well, so that rows may stand below them.
    """

    def __init__(self, conventions: Iterable[str], capture: str = "full", *, companions: bool = False) -> None:
        self._companions = companions
        self._conventions = tuple(conventions)
        self._fields = Fields(capture) if capture != "full" else None

    def request(self, bodies: Sequence[bytes]) -> bytes:
        """Return one OTLP request with the spans of several, those of one resource and scope together."""
        whole = ExportTraceServiceRequest()
        places: dict[tuple[bytes, ...], Any] = {}
        for body in bodies:
            for resource in self.translated(body).resource_spans:
                key = (resource.resource.SerializeToString(deterministic=True), resource.schema_url.encode())
                of_resource = places.get(key)
                if of_resource is None:
                    of_resource = places[key] = whole.resource_spans.add(schema_url=resource.schema_url)
                    of_resource.resource.CopyFrom(resource.resource)
                for scope in resource.scope_spans:
                    inner = (*key, scope.scope.SerializeToString(deterministic=True), scope.schema_url.encode())
                    of_scope = places.get(inner)
                    if of_scope is None:
                        of_scope = places[inner] = of_resource.scope_spans.add(schema_url=scope.schema_url)
                        of_scope.scope.CopyFrom(scope.scope)
                    of_scope.spans.extend(scope.spans)
        return whole.SerializeToString()

    def translated(self, body: bytes) -> ExportTraceServiceRequest:
        """Return a row's request as it goes to the destination; a body that cannot be read goes nowhere."""
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError:
            return ExportTraceServiceRequest()
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._translate(span, scope.scope.name in OWN_SCOPES)
        return request

    def _translate(self, span: Any, own: bool) -> None:
        local = {e.key: e.value.string_value for e in span.attributes if e.key.startswith(LOCAL)}
        if local:
            kept = [entry for entry in span.attributes if not entry.key.startswith(LOCAL)]
            del span.attributes[:]
            span.attributes.extend(kept)
        if self._companions and COMPANION in local:
            span.parent_span_id = bytes.fromhex(local[COMPANION])
        if self._fields is not None:
            self._capture(span, self._fields)
        row = TranslatedRow(span)
        row.asked_model = local.get(ASKED_MODEL) or row.model
        row.beside = json.loads(local.get(BESIDE, "{}"))
        if self._conventions:
            _put(span, attributes_of(row, self._conventions))
        if own and "genai" in self._conventions:
            span.name = (mcp.name_of(row) or genai.name_of(row) or span.name) if self._named else span.name
            if span.kind == INTERNAL:
                span.kind = mcp.kind_of(row) if mcp.method_of(row) else genai.kind_of(row)

    @property
    def _named(self) -> bool:
        """Whether names may say more than a row's type."""
        return self._fields is None or self._fields.name("name") is not None

    @staticmethod
    def _capture(span: Any, fields: Fields) -> None:
        """Leave out of a span what may not go to this destination."""
        kind = next((entry.value.string_value for entry in span.attributes if entry.key == TYPE), "span")
        span.name = fields.name(span.name, kind) or kind
        if span.status.message:
            span.status.message = fields.message(span.status.message) or ""
        _capture_attributes(span.attributes, fields)
        for event in span.events:
            event.name = fields.name(event.name) or "event"
            _capture_attributes(event.attributes, fields)


def _capture_attributes(place: Any, fields: Fields) -> None:
    kept = fields.attributes({entry.key: value_of(entry.value) for entry in place})
    del place[:]
    place.extend(_entries(kept))


def _put(span: Any, attributes: dict[str, Any]) -> None:
    span.attributes.extend(_entries(attributes))


def _entries(attributes: dict[str, Any]) -> Iterable[KeyValue]:
    for key, value in attributes.items():
        entry = KeyValue(key=key)
        _set(entry.value, value)
        yield entry


def _set(place: Any, value: Any) -> None:
    if isinstance(value, bool):
        place.bool_value = value
    elif isinstance(value, int):
        place.int_value = value
    elif isinstance(value, float):
        place.double_value = value
    elif isinstance(value, (list, tuple)):
        place.array_value.SetInParent()
        for item in value:
            _set(place.array_value.values.add(), item)
    else:
        place.string_value = str(value)

"""A row: one finished observation as it is stored in the journal and sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

from ..internals import standard_variables
from ..internals.faults import shielded
from ..recording.beside import beside
from ..recording.observation import Observation
from ..recording.score import Score
from ..recording.sdk_metadata import plain_text
from ..settings import Settings
from . import otlp
from .attributes import METADATA, TRACE_METADATA, TYPE, attributes_of, companion_of
from .fields import Fields
from .media import MediaSieve
from .shared_text import Rope

SCOPE = "langfuse-sdk.integration"
"""Langfuse repeats every attribute in the metadata of rows whose scope does not begin with `langfuse-sdk`."""
FORMER_SCOPE = "langfuse-integration"
"""The scope of rows written by older releases."""
INTERNAL = 1
"""`Span.SPAN_KIND_INTERNAL`."""
LAST_NS = 2**63 - 1
"""The largest time in ns that SQLite can hold; OTLP allows larger ones."""
SDK_SCOPE = "langfuse-sdk"
_METADATA = (METADATA, TRACE_METADATA)
_SCOPE = otlp.scope_field(SCOPE, "")
_EXACT = shielded("keeping the exact form of an answer")


class Row(NamedTuple):
    """One observation, encoded.

    Attributes:
        span_id, trace_id, parent_id: hex text; parent_id is empty in a root.
        body: a whole OTLP `ExportTraceServiceRequest` with this one span. Requests put one after the other are a
            request with all their spans (protobuf merges repeated fields), so that a batch is a plain join. A rope if
            it shares texts with other rows.
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
    body: bytes | Rope


class Encoder:
    """Encodes observations, and spans of other libraries, as rows. Not thread-safe.

    Args:
        fields: masks, cuts and writes single values.
        environment, release: stamped on every row.
        resource: attributes of this process, as OpenTelemetry names them.
        exact: whether rows hold the exact form of answers; under `full` only.

    Attributes:
        has_destinations: whether rows hold what only destinations beside Langfuse get.
        written: the attributes of the last encoded row.
    """

    def __init__(
        self,
        fields: Fields,
        environment: str | None,
        release: str | None,
        resource: dict[str, str],
        *,
        exact: bool = False,
    ) -> None:
        self._fields = fields
        self._exact = exact and fields.is_full
        self.has_destinations = False
        self._constant = {
            key: value
            for key, value in (("langfuse.environment", environment), ("langfuse.release", release))
            if value is not None
        }
        self._resource = otlp.field(b"\x0a", otlp.attributes_field(otlp.RESOURCE_ATTRIBUTE, resource))
        self.written: dict[str, Any] = {}

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        mask: Callable[..., Any] | None = None,
        sieve: MediaSieve | None = None,
        *,
        shares: bool = False,
    ) -> Encoder:
        """Return the encoder for *settings*.

        Args:
            mask: a client's mask, used when the settings have none.
            sieve: extracts media from payloads.
            shares: whether bodies of rows may be ropes.
        """
        resource = {
            "service.name": "langfuse-integration",
            **standard_variables.resource_attributes(),
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "langfuse-integration",
        }
        keys = (settings.secret_key.get_secret_value() if settings.secret_key else None, settings.public_key)
        fields = Fields(
            settings.capture,
            settings.max_field_bytes,
            settings.mask or mask,
            sieve.sift if sieve is not None else None,
            keys,
            mask_names=settings.mask_names,
        )
        fields.shares = shares
        encoder = cls(fields, settings.environment, settings.release, resource, exact=settings.records_exact)
        encoder.has_destinations = bool(settings.all_destinations)
        return encoder

    def encode(self, record: Any) -> Row:
        """Return the row of an observation, or of a span of the OpenTelemetry SDK."""
        return self.row(record) if isinstance(record, Observation) else self.readable(record)

    def attributes(self, observation: Observation) -> dict[str, Any]:
        """Return all attributes of *observation* as they are sent."""
        return {**self._constant, **attributes_of(observation, self._fields)}

    def row(self, observation: Observation, ended_ns: int | None = None) -> Row:
        """Return the row of an observation; *ended_ns* is the end time of one that never ended."""
        self.written = attributes = self.attributes(observation)
        if self._exact and observation.exact is not None:
            with _EXACT:
                attributes[otlp.EXACT] = self._fields.exact(observation.exact())
        if self.has_destinations:
            if observation.asked_model and observation.asked_model != observation.model:
                attributes[otlp.ASKED_MODEL] = observation.asked_model
            attributes |= companion_of(observation.span)
            if observation.span in beside:
                attributes[otlp.BESIDE] = json.dumps(beside[observation.span])
        name = self.name(observation)
        end_ns = observation.ended_ns or ended_ns or observation.started_ns
        failed = observation.level == "ERROR"
        message = str(attributes.get("langfuse.observation.status_message", "")) if failed else ""
        parts = [
            otlp.ids(observation.trace, observation.span, observation.parent),
            otlp.field(otlp.NAME, name.encode()),
            otlp.times(INTERNAL, observation.started_ns, end_ns),
            otlp.status(otlp.ERROR, message) if failed else b"",
        ]
        return Row(
            observation.id,
            observation.trace_id,
            observation.parent_id or "",
            _column(attributes.get("session.id")),
            _column(attributes.get("user.id")),
            name,
            _column(attributes.get(TYPE)) or "span",
            _column(attributes.get("langfuse.observation.level")) or "DEFAULT",
            observation.started_ns,
            end_ns,
            self._body(_SCOPE, parts, attributes),
        )

    def name(self, observation: Observation) -> str:
        """Return an observation's name as it is sent."""
        return clean(self._fields.name(str(observation.name), observation.type) or "")

    @property
    def changes_spans(self) -> bool:
        """Whether the settings mask, cut or leave out anything in spans of other libraries."""
        return not self._fields.as_it_is

    def span_parts(self, span: Any) -> tuple[str, dict[str, Any], list[tuple[int, str, dict[str, Any]]], str]:
        """Return name, attributes, events and status message of a span of the OpenTelemetry SDK, as they are sent.

        The span may be open, and be changed meanwhile. An event is (time in ns, name, attributes).
        """
        fields, scope = self._fields, span.instrumentation_scope
        attributes = fields.attributes((span.attributes or {}).copy())
        if scope is not None and scope.name == SDK_SCOPE:
            attributes = _decoded(attributes)
        events = [
            (event.timestamp, name, fields.attributes(event.attributes or {}))
            for event in span.events
            if (name := fields.name(event.name)) is not None
        ]
        name = clean(fields.name(span.name, _column(attributes.get(TYPE)) or "span") or "")
        message = span.status.description
        return name, attributes, events, (fields.message(message) or "") if message else ""

    def readable(self, span: Any) -> Row:
        """Return the row of a span of the OpenTelemetry SDK; it may be open, and be changed meanwhile."""
        name, own, events, message = self.span_parts(span)
        self.written = attributes = {**self._constant, **own}
        scope, context, parent = span.instrumentation_scope, span.get_span_context(), span.parent
        trace, parent_id = context.trace_id, parent.span_id if parent is not None else 0
        place = row_places().get(context.span_id)
        if place is not None:
            trace, parent_id = place
        if self.has_destinations:
            attributes |= companion_of(context.span_id)
        code = span.status.status_code.value
        started_ns = span.start_time or 0
        ended_ns = span.end_time or started_ns
        parts = [
            otlp.ids(trace, context.span_id, parent_id),
            otlp.field(otlp.NAME, name.encode()),
            otlp.times(span.kind.value + 1, started_ns, ended_ns),
            otlp.status(code, message),
            *(otlp.event(*event) for event in events),
        ]
        return Row(
            f"{context.span_id:016x}",
            f"{trace:032x}",
            f"{parent_id:016x}" if parent_id else "",
            _column(attributes.get("session.id")),
            _column(attributes.get("user.id")),
            name,
            _column(attributes.get(TYPE)) or "span",
            _column(attributes.get("langfuse.observation.level")) or ("ERROR" if code == otlp.ERROR else "DEFAULT"),
            started_ns,
            ended_ns,
            self._body(otlp.scope_field(scope.name, scope.version or "") if scope else b"", parts, attributes),
        )

    def score(self, score: Score) -> Score:
        """Return *score* with its comment and its metadata as they are sent."""
        if score.comment is None and not score.fields:
            return score
        written = copy(score)
        if score.comment is not None:
            written.comment = self._fields.message(str(score.comment))
        fields = dict(score.fields or {})
        if "metadata" in fields and (metadata := self._fields.value(fields.pop("metadata"))) is not None:
            fields["metadata"] = metadata
        written.fields = fields
        return written

    def _body(self, scope: bytes, parts: list[bytes], attributes: dict[str, Any]) -> bytes | Rope:
        size = sum(map(len, parts)) + otlp.put(parts, otlp.ATTRIBUTE, attributes)
        request = otlp.rope_request if Rope in map(type, attributes.values()) else otlp.request
        return request(self._resource, scope, parts, size)


def row_places() -> dict[int, tuple[int, int]]:
    """Return trace and parent row of foreign spans that are elsewhere in Langfuse. Loads OpenTelemetry."""
    from ..recording import otel_spans

    return otel_spans.row_places


def _decoded(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes of Langfuse's SDK with plain text in metadata; SDK 5 writes it as quoted JSON."""
    return {
        key: plain_text(value) if type(value) is str and key.startswith(_METADATA) else value
        for key, value in attributes.items()
    }


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
        get("langfuse.observation.level") or ("ERROR" if span.status.code == otlp.ERROR else "DEFAULT"),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        request.SerializeToString(),
    )


def _column(value: Any) -> str | None:
    """Return an attribute as text for a column; other libraries may set any type."""
    if type(value) is str and value.isascii():
        return value
    return None if value is None else clean(str(value))


def clean(text: str) -> str:
    """Return *text* with lone surrogates, which UTF-8 cannot encode, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

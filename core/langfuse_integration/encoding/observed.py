"""One observation as it was sent, read back from the OTLP request in the journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..internals.lazy import lazy
from .otlp import EXACT
from .usage_buckets import disjoint_buckets

METADATA = "langfuse.observation.metadata."
TRACE_METADATA = "langfuse.trace.metadata."
ID_METADATA = frozenset({METADATA + "think_id", METADATA + "tool_call_id"})
"""Text as it is: hex digits may look like a number."""
_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR

Tree = str | dict[str, list[Any]]
"""A leaf is "type name"; with children it is {"type name": [children]}, in the order in which they started."""


class Observed:
    """One observation as it was sent.

    Attributes:
        attributes: everything by attribute name, as text, numbers, booleans or lists of text.
        started_ns, ended_ns: wall time in ns since 1970.
        finished: False for one that is still open, or was when its process died.
    """

    def __init__(self, span: Any, *, finished: bool = True) -> None:
        self.id: str = span.span_id.hex()
        self.trace_id: str = span.trace_id.hex()
        self.parent_id: str | None = span.parent_span_id.hex() or None
        self.name: str = span.name
        self.started_ns: int = span.start_time_unix_nano
        self.ended_ns: int = span.end_time_unix_nano
        self.finished = finished
        self._failed = span.status.code == _ERROR
        self._status: str = span.status.message
        self.attributes: dict[str, Any] = {entry.key: value_of(entry.value) for entry in span.attributes}
        self.children: list[Observed] = []

    @classmethod
    def decoded(cls, body: bytes, *, finished: bool = True) -> list[Self]:
        """Return the observations in an OTLP request; none where it is damaged."""
        return [
            cls(span, finished=finished)
            for resource in (request_of(body) or ExportTraceServiceRequest()).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def _get(self, name: str) -> Any:
        return self.attributes.get("langfuse.observation." + name)

    @property
    def type(self) -> str:
        """Langfuse's observation type."""
        return str(self._get("type") or "span")

    @property
    def session_id(self) -> str | None:
        """The session, or None: untagged."""
        return _text(self.attributes.get("session.id"))

    @property
    def user_id(self) -> str | None:
        """The user, or None."""
        return _text(self.attributes.get("user.id"))

    @property
    def level(self) -> str:
        """DEBUG, DEFAULT, WARNING or ERROR; without Langfuse's word for it, what OpenTelemetry's status says."""
        return str(self._get("level") or ("ERROR" if self._failed else "DEFAULT"))

    @property
    def status_message(self) -> str | None:
        """What went wrong, or how it ended."""
        return _text(self._get("status_message") or self._status or None)

    @lazy
    def input(self) -> Any:
        """The input as a value."""
        return parsed(self._get("input"))

    @lazy
    def output(self) -> Any:
        """The output as a value; None where an error stands in its place, as it does in Langfuse."""
        output = self._get("output")
        if output is not None and self.level == "ERROR" and output == self._get("status_message"):
            return None
        return parsed(output)

    @lazy
    def metadata(self) -> dict[str, Any]:
        """The metadata, each entry as a value."""
        return {
            key.removeprefix(METADATA): value if key in ID_METADATA else parsed(value)
            for key, value in self.attributes.items()
            if key.startswith(METADATA)
        }

    @lazy
    def exact(self) -> Any:
        """The exact form of the answer, for a replay; None where none was kept."""
        return parsed(self.attributes.get(EXACT))

    @lazy
    def trace_metadata(self) -> dict[str, Any]:
        """The metadata of the trace, each entry as a value."""
        return {
            key.removeprefix(TRACE_METADATA): parsed(value)
            for key, value in self.attributes.items()
            if key.startswith(TRACE_METADATA)
        }

    @property
    def model(self) -> str | None:
        """The model's name."""
        return _text(self._get("model.name"))

    @property
    def model_parameters(self) -> dict[str, Any]:
        """The model's parameters."""
        return _mapping(self._get("model.parameters"))

    @property
    def usage(self) -> dict[str, int]:
        """Tokens in disjoint buckets."""
        return disjoint_buckets(_mapping(self._get("usage_details")))

    @property
    def cost(self) -> dict[str, float]:
        """Cost in US dollars, by bucket."""
        return _mapping(self._get("cost_details"))

    @property
    def first_token(self) -> str | None:
        """When a streamed answer began: ISO 8601 in UTC."""
        return _text(self._get("completion_start_time"))

    @property
    def is_root(self) -> bool:
        """Whether Langfuse takes the trace's input and output from this row."""
        return self.parent_id is None or bool(self.attributes.get("langfuse.internal.is_app_root"))

    @property
    def own_time_ns(self) -> int:
        """How long it took without the observations directly below it; 0 while it is open."""
        if not self.finished:
            return 0
        covered_ns, until_ns = 0, self.started_ns
        for child in self.children:
            start_ns, end_ns = max(child.started_ns, until_ns), min(child.ended_ns, self.ended_ns)
            if end_ns > start_ns:
                covered_ns, until_ns = covered_ns + end_ns - start_ns, end_ns
        return self.ended_ns - self.started_ns - covered_ns

    @property
    def label(self) -> str:
        """Type and name."""
        return f"{self.type} {self.name}"

    @property
    def is_think(self) -> bool:
        """Whether an agent decides here."""
        return self.metadata.get("step_type") == "think"

    @property
    def is_act(self) -> bool:
        """Whether an agent acts here."""
        return self.metadata.get("step_type") == "act"

    def tree(self) -> Tree:
        """Return this observation and all below, for plain comparison."""
        return {self.label: [child.tree() for child in self.children]} if self.children else self.label

    def walk(self) -> Iterator[Observed]:
        """Yield this observation and all below, parents first, in the order of their starts."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"<{self.label} session={self.session_id} user={self.user_id} {self.level}>"


def request_of(body: bytes) -> ExportTraceServiceRequest | None:
    """Return the OTLP request in *body*, or None where it is damaged: the rest of the journal is still of use."""
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return None


def parsed(text: Any) -> Any:
    """Return an attribute's text as the value it was made from; text that is no JSON is itself."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str | None:
    """Return an attribute as text; spans of other libraries may set it to any type."""
    return None if value is None else str(value)


def _mapping(value: Any) -> dict[str, Any]:
    mapping = parsed(value)
    return mapping if isinstance(mapping, dict) else {}


def value_of(value: Any) -> Any:
    """Return an OTLP value as a plain one."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None

"""What is written by hand is what the classes generated from opentelemetry-proto read, and would have written."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from langfuse_integration.encoding import otlp

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(TEXTS, max_size=5),
)
NS = st.integers(0, 2**64 - 1)


def read(body: bytes) -> Span:
    """The one span of a request; the request is the same when protobuf writes it."""
    request = ExportTraceServiceRequest.FromString(body)
    assert request.SerializeToString() == body
    ((resource,),) = (request.resource_spans,)
    ((scope,),) = (resource.scope_spans,)
    ((span,),) = (scope.spans,)
    return span


def written(attributes: dict[str, Any], *further: bytes) -> Span:
    """What is read of a span with these fields."""
    resource = otlp.field(b"\x0a", otlp.attributes_field(otlp.RESOURCE_ATTRIBUTE, {"service.name": "tests"}))
    parts = [otlp.ids(2**127 + 1, 2**63 + 1, 5), otlp.field(otlp.NAME, b"look up")]
    parts.append(otlp.times(1, 2**60, 2**60 + 1))
    size = sum(map(len, parts)) + otlp.put(parts, otlp.ATTRIBUTE, attributes)
    parts += further
    size += sum(map(len, further))
    return read(otlp.request(resource, otlp.scope_field("tests", "1.0"), parts, size))


def values_of(entries: Any) -> dict[str, Any]:
    """Attributes in plain values."""
    found: dict[str, Any] = {}
    for entry in entries:
        kind = entry.value.WhichOneof("value")
        value = getattr(entry.value, kind)
        found[entry.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


@given(st.dictionaries(TEXTS.filter(bool), VALUES.filter(lambda value: value != ""), max_size=8))
@example({"short": "x" * 127, "a byte more": "x" * 128, "long": "ü" * 20_000, "list": [], "no": False, "none": 0})
@example({"least": -(2**63), "most": 2**63 - 1, "text as long as what is kept ready": "x" * 2_047})
@example({"one more": "x" * 2_048, "a key as long as that " * 100: "x"})
def test_attributes_are_read_as_they_were(attributes: dict[str, Any]) -> None:
    """Texts of every length, numbers and lists of texts."""
    span = written(attributes)
    assert values_of(span.attributes) == attributes
    assert [entry.key for entry in span.attributes] == list(attributes)


def test_a_span_is_read_as_it_was() -> None:
    """Ids, name, kind and times."""
    span = written({})
    assert (span.trace_id.hex(), span.span_id.hex()) == (f"{2**127 + 1:032x}", f"{2**63 + 1:016x}")
    assert (span.parent_span_id.hex(), span.name, span.kind) == (f"{5:016x}", "look up", Span.SPAN_KIND_INTERNAL)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (2**60, 2**60 + 1)
    assert otlp.ids(1, 2, 5).startswith(otlp.ids(1, 2, 0)), "a root names no parent"


@given(NS, TEXTS.filter(bool), st.dictionaries(TEXTS.filter(bool), TEXTS.filter(bool), max_size=2))
def test_events_and_a_status_are_read_as_they_were(at_ns: int, text: str, attributes: dict[str, str]) -> None:
    """What only spans of others have."""
    span = written({}, otlp.event(max(at_ns, 1), text, attributes), otlp.status(otlp.ERROR, text))
    (event,) = span.events
    assert (event.time_unix_nano, event.name, values_of(event.attributes)) == (max(at_ns, 1), text, attributes)
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, text)


def test_what_no_encoding_has_is_escaped() -> None:
    """Lone surrogates, in values and in keys; and numbers that are too large are the largest."""
    span = written(
        {"a \ud800 key": "a \udfff value", "list": ["\ud800"], "huge": 2**80, "deep": -(2**80), "none": None}
    )
    assert values_of(span.attributes) == {
        "a \\ud800 key": "a \\udfff value",
        "list": ["\\ud800"],
        "huge": 2**63 - 1,
        "deep": -(2**63),
    }


class Colour(StrEnum):
    """A text of a kind of its own, as attributes of others may be."""

    RED = "red"


def test_a_text_of_a_kind_of_its_own_is_a_text() -> None:
    """Not a list of its letters."""
    assert values_of(written({"colour": Colour.RED}).attributes) == {"colour": "red"}


def test_requests_put_one_after_the_other_are_one() -> None:
    """Protobuf merges repeated fields: that is how batches are made."""
    resource = otlp.field(b"\x0a", b"")
    bodies = [
        otlp.request(resource, otlp.scope_field("tests", ""), [otlp.ids(1, number, 0)], 28) for number in (1, 2, 3)
    ]
    request = ExportTraceServiceRequest.FromString(b"".join(bodies))
    found = [span.span_id for entry in request.resource_spans for scope in entry.scope_spans for span in scope.spans]
    assert [int.from_bytes(span_id) for span_id in found] == [1, 2, 3]


def test_keys_that_are_kept_ready_are_bounded() -> None:
    """An application that makes its keys up does not fill the memory."""
    for number in range(3 * otlp.KEYS_LIMIT):
        otlp.put([], otlp.ATTRIBUTE, {f"key {number}": 1})
    assert len(otlp.keys) <= otlp.KEYS_LIMIT

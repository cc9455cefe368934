"""OTLP's trace messages as bytes, written by hand: opentelemetry-proto 1.x, whose field numbers do not change.

The classes that protobuf generates copy each text twice and keep the memory of the largest; here each is copied once,
when the parts of a request are joined. Only what rows hold is written; to read, take the generated classes.

More than 300 lines: what writes a message and what skips through one stand together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..internals.bounded import BoundedDict
from .shared_text import Rope, SharedText

ATTRIBUTE, EVENT_ATTRIBUTE, RESOURCE_ATTRIBUTE = b"\x4a", b"\x1a", b"\x0a"
"""The tags of attributes: in a Span, in an Event of one, in a Resource."""
NAME = b"\x2a"
"""The tag of a Span's name."""
EXACT = "langfuse_integration.exact"
"""The attribute with the exact form of an answer: for the local replay, and never sent; see `without_exact`."""
ASKED_MODEL = "langfuse_integration.asked_model"
"""The attribute with the model that was asked for: for destinations beside Langfuse; see `without_exact`."""
COMPANION = "langfuse_integration.companion"
"""The attribute with the id of the span of another library that a row stands below, where only destinations get it."""
BESIDE = "langfuse_integration.beside"
"""The attribute with others, as JSON, that only destinations beside Langfuse get; see `without_exact`."""
LOCAL = (EXACT, ASKED_MODEL, COMPANION, BESIDE)
"""Attributes that Langfuse does not get."""
ERROR = 2
"""`Status.STATUS_CODE_ERROR`."""

LARGE_TEXT_BYTES = 1024
"""Texts of this size are kept apart in a request with ropes."""
_INT64 = range(-(2**63), 2**63)
KEYS_LIMIT = 1_000
keys: BoundedDict[str, bytes] = BoundedDict(KEYS_LIMIT)
"""The fields `key` of recent attributes."""


def varint(number: int) -> bytes:
    """Return a number of 0 or more in groups of seven bits, the lowest first."""
    return _VARINTS[number] if number < _SHORT else _long(number)


def _long(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _opening(length: int) -> bytes:
    """Return the bytes before a text of this size in a KeyValue: tags and lengths of AnyValue and string."""
    text_head = b"\x0a" + varint(length)
    return b"\x12" + varint(len(text_head) + length) + text_head


_SHORT = 2_048
"""Text lengths, in bytes, whose prefixes are precomputed."""
_VARINTS = list(map(_long, range(_SHORT)))
_OPENINGS = list(map(_opening, range(_SHORT)))


def encoded(text: str) -> bytes:
    """Return *text* as UTF-8; lone surrogates, which no encoding has, as escapes."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def field(tag: bytes, body: bytes) -> bytes:
    """Return a field with a length: bytes, a text, or a message."""
    return b"".join((tag, varint(len(body)), body))


def put(parts: list[Any], tag: bytes, attributes: Mapping[str, Any]) -> int:
    """Append *attributes* as fields KeyValue of that tag, and return their size in bytes; None values are left out.

    The pieces of ropes are appended as they are.
    """
    size = 0
    for key, value in attributes.items():
        if type(value) is str:
            try:
                body = value.encode()
            except UnicodeEncodeError:
                body = encoded(value)
            length = len(body)
            opening = _OPENINGS[length] if length < _SHORT else _opening(length)
        elif value is None:
            continue
        elif type(value) is Rope:
            body = b""
            length = len(value)
            opening = _opening(length)
        else:
            body = _any(value)
            length = len(body)
            opening = b"\x12" + varint(length)
        head = keys.get(key) or _key(key)
        length += len(head) + len(opening)
        of_entry = _VARINTS[length] if length < _SHORT else varint(length)
        parts += (tag, of_entry, head, opening, body)
        if type(value) is Rope:
            parts += value.pieces
        size += 1 + len(of_entry) + length
    return size


def attributes_field(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    """Return *attributes* alone, as `put` appends them."""
    parts: list[bytes] = []
    put(parts, tag, attributes)
    return b"".join(parts)


def scope_field(name: str, version: str) -> bytes:
    """Return the field `scope` of ScopeSpans."""
    return field(b"\x0a", field(b"\x0a", encoded(name)) + field(b"\x12", encoded(version)))


def ids(trace: int, span: int, parent: int) -> bytes:
    """Return the first fields of a Span; *parent* is 0 in a root."""
    fields = b"\x0a\x10" + trace.to_bytes(16, "big") + b"\x12\x08" + span.to_bytes(8, "big")
    return fields + b"\x22\x08" + parent.to_bytes(8, "big") if parent else fields


def times(kind: int, started_ns: int, ended_ns: int) -> bytes:
    """Return the fields kind, start and end of a Span."""
    return struct.pack("<BBBQBQ", 0x30, kind, 0x39, started_ns, 0x41, ended_ns)


def event(at_ns: int, name: str, attributes: Mapping[str, Any]) -> bytes:
    """Return the field of one Event in a Span."""
    fields = struct.pack("<BQ", 0x09, at_ns) + field(b"\x12", encoded(name))
    return field(b"\x5a", fields + attributes_field(EVENT_ATTRIBUTE, attributes))


def status(code: int, message: str) -> bytes:
    """Return the field `status` of a Span; empty for an unset status without a message."""
    if not code and not message:
        return b""
    return field(b"\x7a", field(b"\x12", encoded(message)) + b"\x18" + varint(code))


def request(resource: bytes, scope: bytes, parts: list[bytes], size: int) -> bytes:
    """Return an ExportTraceServiceRequest with one Span; for the arguments see `_request_opening`."""
    return b"".join((*_request_opening(resource, scope, size), *parts))


def rope_request(resource: bytes, scope: bytes, parts: list[Any], size: int) -> Rope:
    """Return an ExportTraceServiceRequest with one Span, of whose *parts* some are shared; large texts stay apart."""
    pieces: list[bytes | SharedText] = []
    small: list[bytes] = []
    for part in (*_request_opening(resource, scope, size), *parts):
        if type(part) is bytes and len(part) < LARGE_TEXT_BYTES:
            small.append(part)
        else:
            pieces += (b"".join(small), SharedText(None, part, grows=False) if type(part) is bytes else part)
            small = []
    return Rope((*pieces, b"".join(small)))


def _request_opening(resource: bytes, scope: bytes, size: int) -> tuple[bytes, ...]:
    """Return what an ExportTraceServiceRequest with one Span begins with.

    Args:
        resource: the field `resource` of ResourceSpans.
        scope: the field `scope` of ScopeSpans.
        size: the bytes of the Span's fields, which follow.
    """
    of_span = varint(size)
    size += len(scope) + 1 + len(of_span)
    of_scope = varint(size)
    size += len(resource) + 1 + len(of_scope)
    return b"\x0a", varint(size), resource, b"\x12", of_scope, scope, b"\x12", of_span


_LOCAL_KEYS = tuple(key.encode() for key in LOCAL)
_LOCAL_FIELDS = tuple(field(b"\x0a", key) for key in _LOCAL_KEYS)
_EXACT_PATH = (0x0A, 0x12, 0x12, ATTRIBUTE[0])
"""Resource spans, scope spans, spans, attributes."""


def _key(key: str) -> bytes:
    """Return the field `key` of a KeyValue."""
    key_field = field(b"\x0a", encoded(key))
    keys[key] = key_field
    return key_field


def _any(value: Any) -> bytes:
    """Return an AnyValue that is no `str`."""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(max(min(value, _INT64[-1]), _INT64[0]) & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, str):
        return field(b"\x0a", encoded(value))
    texts = (field(b"\x0a", field(b"\x0a", encoded(str(item)))) for item in value)
    return field(b"\x2a", b"".join(texts))


def large_texts(body: bytes, least_bytes: int) -> list[tuple[int, int]]:
    """Return (start, end) of each attribute's text of *least_bytes* or more, in a request with one Span.

    Fields are skipped by their lengths, so that the cost does not depend on the size of the texts.
    """
    places: list[tuple[int, int]] = []
    start, end = 0, len(body)
    for inner in (0x0A, 0x12, 0x12):  # ExportTraceServiceRequest.resource_spans, its scope_spans, their spans
        for tag, first, last in _fields(body, start, end):
            if tag == inner:
                start, end = first, last
                break
        else:
            return places
    while start < end - 1:
        # Written out for attributes: there are many, and few are large.
        length, first = body[start + 1], start + 2
        if body[start] != ATTRIBUTE[0] or length > 0x7F:
            tag, first, last = next(_fields(body, start, end), (0, end, end))
            if tag == ATTRIBUTE[0] and last - first >= least_bytes:
                places += _large_text(body, first, last, least_bytes)
            start = last
        else:
            start = first + length
    return places


def without_exact(body: bytes) -> bytes:
    """Return trace requests without the attributes that are for here: what is left may be sent to Langfuse.

    Args:
        body: ExportTraceServiceRequests one after the other.

    Raises:
        ValueError: the requests are damaged, so that the attribute cannot be removed.
    """
    if not any(key in body for key in _LOCAL_KEYS):
        return body
    stripped = _without_exact(body, 0, len(body), _EXACT_PATH)
    return _reparsed(stripped) if any(local in stripped for local in _LOCAL_FIELDS) else stripped


def _reparsed(body: bytes) -> bytes:
    """Return requests of another writer's form, or with these very bytes in a text, without these."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError("the request is damaged") from error
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                kept = [entry for entry in span.attributes if entry.key not in LOCAL]
                del span.attributes[:]
                span.attributes.extend(kept)
    return request.SerializeToString()


def _without_exact(body: bytes, start: int, end: int, path: Sequence[int]) -> bytes:
    """Return the fields of a message without EXACT in those that *path* leads to."""
    parts: list[bytes] = []
    position = start
    for tag, first, last in _fields(body, start, end):
        whole = body[position:last]
        position = last
        if tag == path[0] and any(key in whole for key in _LOCAL_KEYS):
            if len(path) > 1:
                whole = field(bytes((tag,)), _without_exact(body, first, last, path[1:]))
            elif body.startswith(_LOCAL_FIELDS, first):
                continue
        parts.append(whole)
    parts.append(body[position:end])  # fields of other libraries with numbers from 16 on
    return b"".join(parts)


def _large_text(body: bytes, start: int, end: int, least_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the text of a KeyValue, if it is a large one."""
    for of_entry, first, last in _fields(body, start, end):
        if of_entry == 0x12:  # KeyValue.value
            for of_value, text_start, text_end in _fields(body, first, last):
                if of_value == 0x0A and text_end - text_start >= least_bytes:  # AnyValue.string_value
                    yield text_start, text_end


def _fields(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, start, end) of each field of a message; ends where the bytes are no message."""
    while start < end:
        tag = body[start]
        length, first = _read_varint(body, start + 1, end)
        kind = tag & 7
        if tag > 0x7F:  # fields from 16 on: there is none in these messages
            return
        if kind == 0:
            length = 0
        elif kind in (1, 5):
            first, length = start + 1, 8 if kind == 1 else 4
        elif kind != 2:
            return
        start = first + length
        if start > end:
            return
        yield tag, first, start


def _read_varint(body: bytes, start: int, end: int) -> tuple[int, int]:
    """Return a number written by `varint` and the position after it; *end* if the number is incomplete."""
    number = shift = 0
    for position in range(start, end):
        byte = body[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position + 1
        shift += 7
        if shift > 63:
            break
    return 0, end

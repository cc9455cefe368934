"""Deflates what rows hold beside their large texts: most of it is the same in all rows, or stands in the texts, too.

The dictionary is a constant, the end of a text of the same trace, and what the row's columns hold: the answer of a
model, for example, is in the state of its graph. No row depends on a row of another trace, whose content may be
removed.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..encoding import otlp
from ..encoding.row import INTERNAL, Row
from .nodes import BEGINNING, Node

DICTIONARY = -2
"""Stands in the first entry of `pieces`, where others have a place, before the node of the neighbour.

Rows of schema 8 have -1 there, and a dictionary without their columns.
"""
END_BYTES = 4096
"""What the dictionary takes from the end of a neighbour."""
LEVEL = 3
Pieces = Sequence[tuple[int, int]]
ORIGIN = "json_array(trace_id, span_id, parent_id, started_ns, ended_ns, name, session_id, user_id)"
"""The columns of a row that its dictionary is made of, as an expression in SQL: JSON of an Origin."""


class Origin(NamedTuple):
    """The columns of a row that its dictionary is made of; nothing changes them later."""

    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    name: str
    session_id: str | None
    user_id: str | None

    @classmethod
    def of(cls, row: Row) -> Origin:
        """Return these columns of *row*."""
        return cls(
            row.trace_id, row.span_id, row.parent_id, row.started_ns, row.ended_ns, row.name, row.session_id,
            row.user_id,
        )  # fmt: skip


class Neighbour(NamedTuple):
    """A text in nodes that a row may repeat in part.

    Attributes:
        node: the last one.
        end: its last END_BYTES.
    """

    node: Node
    end: bytes
    size_bytes: int


NOTHING = Neighbour(BEGINNING, b"", 0)


def deflated(rest: bytes, pieces: Pieces, origin: Origin, neighbour: Neighbour) -> tuple[bytes, str]:
    """Return *rest* deflated, and the text of *pieces* with the node of the dictionary."""
    entries = [(DICTIONARY, neighbour.node.id), *pieces]
    deflating = zlib.compressobj(LEVEL, zdict=_COMMON + neighbour.end + _opening(origin))
    return deflating.compress(rest) + deflating.flush(), json.dumps(entries, separators=(",", ":"))


def inflated(
    body: bytes, pieces: str, origin: str | Origin | None, text_of: Callable[[int], bytes | memoryview]
) -> tuple[bytes, list[tuple[int, bytes | memoryview]]]:
    """Return what a row holds beside its large texts, and (where it belongs, text) of each of these.

    Args:
        body, pieces: these columns of the row.
        origin: further ones, or their JSON.
        text_of: returns the text of a chain by its last node.

    Raises:
        zlib.error, ValueError, TypeError: the row is damaged.
    """
    entries = [(int(place), int(last)) for place, last in json.loads(pieces)]
    texts = [(place, text_of(last)) for place, last in entries if place >= 0]
    if len(texts) == len(entries):  # written before there was a dictionary
        return zlib.decompress(body), texts
    kind, neighbour = entries[0]
    dictionary = _COMMON + bytes(text_of(neighbour)[-END_BYTES:] if neighbour else b"")
    if kind == DICTIONARY:
        columns: Sequence[Any] = json.loads(origin) if isinstance(origin, str) else origin or ()
        dictionary += _opening(Origin._make(columns))
    inflating = zlib.decompressobj(zdict=dictionary)
    rest = inflating.decompress(body)
    if not inflating.eof:
        raise zlib.error("it ends too early")
    return rest, texts


def _opening(origin: Origin) -> bytes:
    """Return the fields that a row's span begins with; like `_COMMON` this may never change."""
    try:
        ids = otlp.ids(int(origin.trace_id, 16), int(origin.span_id, 16), int(origin.parent_id or "0", 16))
        times = otlp.times(INTERNAL, origin.started_ns, origin.ended_ns)
    except (ValueError, OverflowError, struct.error):  # only rows that no encoder has written
        ids = times = b""
    session = {"session.id": origin.session_id, "gen_ai.conversation.id": origin.session_id, "user.id": origin.user_id}
    return b"".join(
        (
            ids,
            otlp.field(otlp.NAME, otlp.encoded(origin.name or "")),
            times,
            otlp.attributes_field(otlp.ATTRIBUTE, session),
        )
    )


_COMMON = (
    b'","status":"error""role":"system""role":"tool","tool_call_id":"call_","name":""reasoning_content":"'
    b'{"input":{"output":{"messages":[{"role":"user","content":"{"messages":[{"role":"assistant","content":"'
    b'"tool_calls":[{"name":"","args":{"id":"call_","type":"tool_call"}]"function":{"name":"","arguments":{"'
    b"langfuse.observation.metadata.langgraph_checkpoint_ns\x12langfuse.observation.metadata.thread_id\x12"
    b"langfuse.observation.completion_start_time\x12langfuse.observation.cost_details\x12\n\x0b"
    b'{"total":0}J\x12langfuse.observation.usage_details\x12{"input":,"output":,"total":'
    b"langfuse.observation.model.parameters\x12langfuse.observation.model.name\x12langfuse.observation.prompt.name\x12"
    b"langfuse.trace.name\x12langfuse.trace.tags\x12langfuse.trace.metadata.langfuse.internal.is_app_root\x12\x02\x10\x01"
    b"langfuse.observation.status_message\x12langfuse.observation.level\x12\x07\n\x05ERRORWARNING"
    b"langfuse.environment\x12langfuse.release\x12langfuse.version\x12user.id\x12"
    b"agent\x12span\x12tool\x12retriever\x12embedding\x12"
    b'\nz\n&\n\x0cservice.name\x12\x16\n\x14langfuse-integration\n"\n\x16telemetry.sdk.language\x12\x08\n\x06python\n,\n'
    b"\x12telemetry.sdk.name\x12\x16\n\x14langfuse-integration\x12\n\x1c\n\x18langfuse-sdk.integration\x12\x00\x12\n\x10"
    b"0\x019J\x14\n\nsession.id\x12J \n\x16gen_ai.conversation.id\x12"
    b"J)\n\x19langfuse.observation.type\x12\x0c\n\ngenerationJ$\n\x19langfuse.observation.type\x12\x07\n\x05chainJ"
    b'\n\x1alangfuse.observation.input\x12\n{"messages":[}]}J'
    b'\n\x1blangfuse.observation.output\x12\n{"role":"assistant","content":"'
    b"J5\n,langfuse.observation.metadata.langgraph_step\x12\x05\n\x03"
    b"J7\n,langfuse.observation.metadata.langgraph_node\x12\x07\n\x05model"
    b"J4\n)langfuse.observation.metadata.ls_provider\x12\x07\n\x05model"
    b'J\n\x1alangfuse_integration.exact\x12\n{"form":"langchain.chat","generations":[{"type":"ai","content":"'
    b'","id":"lc_run---0"}],"asked":{"model":null,"parameters":{}}}'
)
"""What rows have in common. It may never change: rows that are in journals could not be read any more."""

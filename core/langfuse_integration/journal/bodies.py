"""Restores the bodies of rows from their stored form; see chains.py. Nothing here writes."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from .deflating import Origin, inflated
from .nodes import inflated_part

RECENT_BYTES = 8 * 1024 * 1024
_CHAIN = """
    WITH RECURSIVE chain(id, parent) AS (
        SELECT id, parent FROM nodes WHERE id = :last
        UNION ALL
        SELECT nodes.id, nodes.parent FROM chain JOIN nodes ON nodes.id = chain.parent
        WHERE chain.parent NOT IN (SELECT value FROM json_each(:recent))
    )
    SELECT chain.id, chain.parent, {part}
    FROM chain JOIN nodes ON nodes.id = chain.id LEFT JOIN nodes AS originals ON originals.id = nodes.copy_of
    ORDER BY chain.id
"""
"""A node has a higher number than its parent: the first of a chain has the lowest one."""
_NODE = """
    SELECT nodes.parent, {part}
    FROM nodes LEFT JOIN nodes AS originals ON originals.id = nodes.copy_of WHERE nodes.id = ?
"""
_PART = """
    CASE nodes.copy_of WHEN 0 THEN nodes.body ELSE originals.body END,
    CASE nodes.copy_of WHEN 0 THEN nodes.size_bytes ELSE originals.size_bytes END
"""
_RAW_PART = "CASE nodes.copy_of WHEN 0 THEN nodes.body ELSE originals.body END, NULL"
"""Of older schemas."""


class BrokenChain(sqlite3.DatabaseError):
    """A row or a node cannot be read: the file is damaged."""


class Bodies:
    """Reads chains through one connection; it remembers the last texts, which those of the next rows begin with.

    Args:
        db: a connection to a journal; the same transaction has to read a row and its chains.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._recent_bytes = 0
        self._has_sizes = False
        self._longest = 0
        self._ends: dict[int, int] = {}  # where each node of the chain *longest* ends

    def whole(self, body: bytes, pieces: str | None, origin: str | Origin | None) -> bytes:
        """Return the OTLP request of a row.

        Args:
            body, pieces: these columns of the row.
            origin: what the expression ORIGIN selects; any value without pieces.

        Raises:
            BrokenChain: a node is missing.
        """
        if not pieces:
            return body
        try:
            rest, texts = inflated(body, pieces, origin, self._text)
        except (zlib.error, ValueError, TypeError) as error:
            raise BrokenChain(f"a row cannot be read: {error}") from error
        parts: list[bytes | memoryview] = []
        position = 0
        for place, text in texts:
            parts += (rest[position:place], text)
            position = place
        parts.append(rest[position:])
        return b"".join(parts)

    def readable(self, body: bytes, pieces: str | None, origin: str | None) -> bytes:
        """Return the OTLP request of a row; empty where a node is missing."""
        try:
            return self.whole(body, pieces, origin)
        except BrokenChain:
            return b""

    def _text(self, last: int) -> bytes | memoryview:
        text = self._recent.get(last)
        if text is None:
            within = self._within(last)
            if within is not None:
                return within
            text = self._read(last)
            self._recent[last] = text
            self._recent_bytes += len(text)
        self._recent.move_to_end(last)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])
        return text

    def _within(self, last: int) -> bytes | memoryview | None:
        """Return a text that the last chain which was read begins with; None otherwise."""
        longer = self._recent.get(self._longest)
        if longer is None:
            return None
        self._recent.move_to_end(self._longest)
        if last in self._ends:
            return memoryview(longer)[: self._ends[last]]
        own = self._nodes(_NODE, (last,))  # shorter texts may end with a node of their own
        if not own or own[0][1] is None or own[0][0] not in self._ends:
            return None
        parent, body, size_bytes = own[0]
        return b"".join((memoryview(longer)[: self._ends[parent]], inflated_part(body, size_bytes)))

    def _read(self, last: int) -> bytes:
        nodes = self._nodes(_CHAIN, {"last": last, "recent": json.dumps(list(self._recent))})
        if not nodes or any(body is None for _, _, body, _ in nodes):
            raise BrokenChain(f"node {last}, or one before it, is missing")
        parts = [inflated_part(body, size_bytes) for _, _, body, size_bytes in nodes]
        text = b"".join(parts)
        parent = nodes[0][1]
        if not parent:
            self._longest = last
            self._ends = dict(zip((node[0] for node in nodes), accumulate(map(len, parts)), strict=True))
            return text
        beginning = self._recent.get(parent)
        if beginning is None:
            raise BrokenChain(f"node {parent} is missing")
        return beginning + text

    def _nodes(self, statement: str, values: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what a statement selects of nodes, with {part} for body and size of each."""
        if not self._has_sizes:  # a writer may add the column while a reader has the file open
            columns = self._db.execute("SELECT name FROM pragma_table_info('nodes', 'main')")
            self._has_sizes = ("size_bytes",) in columns.fetchall()
        part = _PART if self._has_sizes else _RAW_PART
        return self._db.execute(statement.format(part=part), values).fetchall()

"""Restores the bodies of rows from their stored form; see chains.py. Nothing here writes."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections import OrderedDict
from itertools import accumulate

from .deflating import inflated

RECENT_BYTES = 8 * 1024 * 1024
_CHAIN = """
    WITH RECURSIVE chain(id, parent) AS (
        SELECT id, parent FROM nodes WHERE id = :last
        UNION ALL
        SELECT nodes.id, nodes.parent FROM chain JOIN nodes ON nodes.id = chain.parent
        WHERE chain.parent NOT IN (SELECT value FROM json_each(:recent))
    )
    SELECT CAST(group_concat(body, '') AS BLOB), min(parent), count(*), count(body), group_concat(id),
        group_concat(length(CAST(body AS BLOB)))
    FROM (
        SELECT chain.id, chain.parent, CASE nodes.copy_of WHEN 0 THEN nodes.body ELSE originals.body END AS body
        FROM chain JOIN nodes ON nodes.id = chain.id LEFT JOIN nodes AS originals ON originals.id = nodes.copy_of
        ORDER BY chain.id
    )
"""
"""A node has a higher number than its parent: the first of a chain has the lowest one."""


_NODE = """
    SELECT nodes.parent, CASE nodes.copy_of WHEN 0 THEN nodes.body ELSE originals.body END
    FROM nodes LEFT JOIN nodes AS originals ON originals.id = nodes.copy_of WHERE nodes.id = ?
"""


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
        self._longest = 0
        self._ends: dict[int, int] = {}  # where each node of the chain *longest* ends

    def whole(self, body: bytes, pieces: str | None) -> bytes:
        """Return the OTLP request of a row.

        Args:
            body, pieces: these columns of the row.

        Raises:
            BrokenChain: a node is missing.
        """
        if not pieces:
            return body
        try:
            rest, texts = inflated(body, pieces, self._text)
        except (zlib.error, ValueError, TypeError) as error:
            raise BrokenChain(f"a row cannot be read: {error}") from error
        parts: list[bytes] = []
        position = 0
        for place, text in texts:
            parts += (rest[position:place], text)
            position = place
        parts.append(rest[position:])
        return b"".join(parts)

    def readable(self, body: bytes, pieces: str | None) -> bytes:
        """Return the OTLP request of a row; empty where a node is missing."""
        try:
            return self.whole(body, pieces)
        except BrokenChain:
            return b""

    def _text(self, last: int) -> bytes:
        text = self._recent.get(last)
        if text is None:
            text = self._within(last) or self._read(last)
            self._recent[last] = text
            self._recent_bytes += len(text)
        self._recent.move_to_end(last)
        while self._recent_bytes > RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])
        return text

    def _within(self, last: int) -> bytes | None:
        """Return a text that the last chain which was read begins with; None otherwise."""
        longer = self._recent.get(self._longest)
        if longer is None:
            return None
        self._recent.move_to_end(self._longest)
        if last in self._ends:
            return longer[: self._ends[last]]
        own = self._db.execute(_NODE, (last,)).fetchone()  # shorter texts may end with a node of their own
        if own is None or own[1] is None or own[0] not in self._ends:
            return None
        return longer[: self._ends[own[0]]] + bytes(own[1])

    def _read(self, last: int) -> bytes:
        values = {"last": last, "recent": json.dumps(list(self._recent))}
        joined, parent, nodes, bodies, ids, sizes = self._db.execute(_CHAIN, values).fetchone()
        if not nodes or bodies < nodes:
            raise BrokenChain(f"node {last}, or one before it, is missing")
        text = bytes(joined)
        if not parent:
            self._longest = last
            self._ends = dict(zip(map(int, ids.split(",")), accumulate(map(int, sizes.split(","))), strict=True))
            return text
        beginning = self._recent.get(parent)
        if beginning is None:
            raise BrokenChain(f"node {parent} is missing")
        return beginning + text

"""Large texts of rows, stored once: as chains of nodes, each of which continues the text of its parent.

An agent sends everything said so far with each step, so that most of a step's text is the text of the step before. A
text is cut at places that depend on nothing but the text before them: texts that begin alike are cut alike there, and
share these nodes. A row refers to the last node of a chain, however long the chain is.

A node is identified by a hash of its parent's hash and of its own bytes. A node that repeats the bytes of another one
in a different place refers to them.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..encoding import otlp
from ..encoding.row import Row
from ..encoding.shared_text import Rope, SharedText
from ..internals.bounded import BoundedDict
from .deflating import END_BYTES, NOTHING, Neighbour, Origin, Pieces, deflated
from .nodes import BEGINNING, MIN_NODE_BYTES, Node, chain, cuts_of, exists, write

MIN_TEXT_BYTES = otlp.LARGE_TEXT_BYTES
"""Shorter texts stay in their rows."""
LONG_TEXT_BYTES = 8 * 1024
"""Shorter texts stay in their rows, too, unless another text began like that: most of them are never repeated."""
RECENT_BYTES = 4 * 1024 * 1024
RECENT_TEXTS = 256
HEAD_BYTES = 128
HEADS_LIMIT = 10_000
TRACES_LIMIT = 64


class StoredBody(NamedTuple):
    """A row's body as it is stored.

    Attributes:
        body: the OTLP request; with *pieces*, without the texts in chains, and deflated.
        pieces: JSON: for each of these texts [where in *body* it belongs, its last node], and before them the node of
            its dictionary; None if *body* is whole.
        size_bytes: of the whole request.
    """

    body: bytes
    pieces: str | None
    size_bytes: int


class _End(NamedTuple):
    """Where the chain of a growing text ends.

    Attributes:
        node: the last node that longer texts share.
        rest: what follows it.
    """

    node: Node
    rest: bytes


class Chains:
    """Writes chains into one journal. For one thread, inside of transactions.

    It remembers the last texts, so that a longer one is compared with the text before, and not hashed again.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[str, bytes], tuple[bytes, Node]] = OrderedDict()
        self._recent_bytes = 0
        self._heads: BoundedDict[bytes, None] = BoundedDict(HEADS_LIMIT)
        self._ends: WeakKeyDictionary[SharedText, _End] = WeakKeyDictionary()
        self._longest: BoundedDict[str, Neighbour] = BoundedDict(TRACES_LIMIT)

    def stored(self, db: sqlite3.Connection, row: Row) -> StoredBody:
        """Return the body of *row* as it is stored, with its large texts in chains."""
        body, owner = row.body, row.session_id or row.trace_id  # whose texts resemble each other
        size_bytes = len(body)
        if size_bytes < MIN_TEXT_BYTES:
            return StoredBody(bytes(body), None, size_bytes)
        rest, pieces, last = self._rope(db, owner, body) if isinstance(body, Rope) else self._body(db, owner, body)
        if not pieces:
            return StoredBody(rest, None, size_bytes)
        neighbour = self._longest.get(row.trace_id, NOTHING)
        if last.size_bytes >= neighbour.size_bytes or not exists(db, neighbour.node):
            neighbour = last
        self._longest.renew(row.trace_id, neighbour)
        return StoredBody(*deflated(rest, pieces, Origin.of(row), neighbour), size_bytes)

    def _body(self, db: sqlite3.Connection, owner: str, body: bytes) -> tuple[bytes, Pieces, Neighbour]:
        """Return what is in no chain, the chains, and the end of the last one."""
        rest: list[bytes] = []
        pieces: list[tuple[int, int]] = []
        last = NOTHING
        position = length = 0
        for start, end in otlp.large_texts(body, MIN_TEXT_BYTES):
            if not self._is_chained(body[start : start + HEAD_BYTES], end - start):
                continue
            node = self._add(db, owner, body[start:end])
            rest.append(body[position:start])
            length += start - position
            position = start + node.end
            pieces.append((length, node.id))
            last = Neighbour(node, body[max(position - END_BYTES, start) : position], node.end)
        rest.append(body[position:])
        return b"".join(rest), pieces, last

    def _rope(self, db: sqlite3.Connection, owner: str, body: Rope) -> tuple[bytes, Pieces, Neighbour]:
        rest: list[bytes] = []
        pieces: list[tuple[int, int]] = []
        last = NOTHING
        length = 0
        for piece in body.pieces:
            part = piece
            if isinstance(piece, SharedText):
                node, part = self._chained(db, owner, piece)
                if node is not None:
                    pieces.append((length, node.id))
                    ending = piece.end(END_BYTES + len(part))[: -len(part) or None]
                    last = Neighbour(node, ending, len(piece) - len(part))
            rest.append(bytes(part))
            length += len(part)
        return b"".join(rest), pieces, last

    def _chained(self, db: sqlite3.Connection, owner: str, text: SharedText) -> tuple[Node | None, bytes]:
        """Return the last node of the chain of *text*, None without a chain, and what of the text is in no node."""
        if text.grows:
            return self._grown(db, text) if len(text) >= MIN_TEXT_BYTES else (None, bytes(text))
        whole = text.part
        if not self._is_chained(whole[:HEAD_BYTES], len(whole)):
            return None, whole
        node = self._add(db, owner, whole)
        return node, whole[node.end :]

    def _grown(self, db: sqlite3.Connection, text: SharedText) -> tuple[Node | None, bytes]:
        """Write what is new in *text* after the part of it that is stored."""
        end = self._ends.get(text)
        if end is not None and not exists(db, end.node):
            end = None
        if end is None:
            end = self._ends[text] = self._extended(db, text)
        node, rest = end
        if len(rest) >= MIN_NODE_BYTES:  # this row's own: a longer text is cut elsewhere
            nodes = chain(node._replace(end=0), rest, [len(rest)])
            write(db, nodes, rest)
            node, rest = nodes[-1], b""
        return (node if node.id else None), rest

    def _extended(self, db: sqlite3.Connection, text: SharedText) -> _End:
        new: list[SharedText] = []
        end = _End(BEGINNING, b"")
        earlier: SharedText | None = text
        while earlier is not None:
            known = self._ends.get(earlier)
            if known is not None and exists(db, known.node):  # it may have been removed meanwhile
                end = known
                break
            new.append(earlier)
            earlier = earlier.before
        new.reverse()
        rest = end.rest + b"".join(each.part for each in new)
        cuts, ends_with_text = cuts_of(rest + b"]", 0)
        nodes = chain(end.node._replace(end=0), rest, cuts[:-1] if ends_with_text else cuts)
        if len(nodes) == 1:
            return _End(end.node, rest)
        write(db, nodes, rest)
        self._remember_ends(new[:-1], len(end.rest), nodes, rest)
        return _End(nodes[-1], rest[nodes[-1].end :])

    def _remember_ends(self, texts: list[SharedText], start: int, nodes: list[Node], rest: bytes) -> None:
        """Remember where the texts end that the longest of a batch continues: they are written after it.

        Args:
            texts: the shorter ones first; the first of them begins at *start* in *rest*.
        """
        place, length = 0, start
        for text in texts:
            length += len(text.part)
            while place + 1 < len(nodes) and nodes[place + 1].end <= length:
                place += 1
            node = nodes[place]
            if node.id or not node.hash:  # of nodes that were there before, not each number is known
                self._ends[text] = _End(node, rest[node.end : length])

    def _is_chained(self, head: bytes, size_bytes: int) -> bool:
        return size_bytes >= LONG_TEXT_BYTES or self._began_like_that(head)

    def _began_like_that(self, head: bytes) -> bool:
        """Return whether an earlier text had this beginning, and remember it."""
        is_repeated = head in self._heads
        self._heads[head] = None
        return is_repeated

    def _add(self, db: sqlite3.Connection, owner: str, text: bytes) -> Node:
        """Return the last node of the chain of *text*; fewer than MIN_NODE_BYTES at its end may be in no node."""
        key = owner, text[:HEAD_BYTES]
        resumed = self._resumed(db, key, text)
        cuts, ends_with_text = cuts_of(text, resumed.end)
        nodes = chain(resumed, text, cuts)
        write(db, nodes, text)
        self._remember(key, text, nodes[-2] if ends_with_text else nodes[-1])
        return nodes[-1]

    def _resumed(self, db: sqlite3.Connection, key: tuple[str, bytes], text: bytes) -> Node:
        """Return the last node that *text* shares with the last text like it."""
        recent = self._recent.get(key)
        if recent is None or not text.startswith(recent[0]):
            return BEGINNING
        node = recent[1]
        return node if exists(db, node) else BEGINNING  # it may have been removed meanwhile

    def _remember(self, key: tuple[str, bytes], text: bytes, node: Node) -> None:
        previous, _ = self._recent.pop(key, (b"", None))
        self._recent_bytes += node.end - len(previous)
        self._recent[key] = text[: node.end], node
        while self._recent_bytes > RECENT_BYTES or len(self._recent) > RECENT_TEXTS:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1][0])

"""Large texts of rows, stored once: as chains of nodes, each of which continues the text of its parent.

An agent sends everything said so far with each step, so that most of a step's text is the text of the step before. A
text is cut at places that depend on nothing but the text before them: texts that begin alike are cut alike there, and
share these nodes. A row refers to the last node of a chain, however long the chain is.

A node is identified by a hash of its parent's hash and of its own bytes. A node that repeats the bytes of another one
in a different place refers to them.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections import OrderedDict
from hashlib import blake2b
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..encoding import otlp
from ..encoding.shared_text import Rope, SharedText
from ..internals.bounded import BoundedDict

MIN_TEXT_BYTES = otlp.LARGE_TEXT_BYTES
"""Shorter texts stay in their rows."""
LONG_TEXT_BYTES = 8 * 1024
"""Shorter texts stay in their rows, too, unless another text began like that: most of them are never repeated."""
MIN_NODE_BYTES = 256
MAX_NODE_BYTES = 4096
RECENT_BYTES = 4 * 1024 * 1024
RECENT_TEXTS = 256
HEAD_BYTES = 128
HEADS_LIMIT = 10_000
_END_OF_ITEM = re.compile(rb"\}(?=,\{|\])")
"""Where an object in a JSON list ends; the cut is before the brace, since what follows it depends on what follows."""
_HASH_BYTES = 16


class StoredBody(NamedTuple):
    """A row's body as it is stored.

    Attributes:
        body: the OTLP request; with *pieces*, without the texts in chains, and deflated.
        pieces: JSON: for each of these texts [where in *body* it belongs, its last node]; None without any.
        size_bytes: of the whole request.
    """

    body: bytes
    pieces: str | None
    size_bytes: int


class _Node(NamedTuple):
    """A node in the file; the text of its chain ends after *end* bytes."""

    id: int
    hash: bytes
    end: int


class _End(NamedTuple):
    """Where the chain of a growing text ends.

    Attributes:
        node: the last node that longer texts share.
        rest: what follows it.
    """

    node: _Node
    rest: bytes


_BEGINNING = _Node(0, b"", 0)


class Chains:
    """Writes chains into one journal. For one thread, inside of transactions.

    It remembers the last texts, so that a longer one is compared with the text before, and not hashed again.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[str, bytes], tuple[bytes, _Node]] = OrderedDict()
        self._recent_bytes = 0
        self._heads: BoundedDict[bytes, None] = BoundedDict(HEADS_LIMIT)
        self._ends: WeakKeyDictionary[SharedText, _End] = WeakKeyDictionary()

    def stored(self, db: sqlite3.Connection, owner: str, body: bytes | Rope) -> StoredBody:
        """Return *body* as it is stored, with its large texts in chains.

        Args:
            owner: the session or trace whose texts resemble each other.
        """
        if type(body) is Rope:
            return self._stored_rope(db, owner, body)
        body = bytes(body)
        size_bytes = len(body)
        if size_bytes < MIN_TEXT_BYTES:
            return StoredBody(body, None, size_bytes)
        rest: list[bytes] = []
        pieces: list[tuple[int, int]] = []
        position = length = 0
        for start, end in otlp.large_texts(body, MIN_TEXT_BYTES):
            if not self._is_chained(body[start : start + HEAD_BYTES], end - start):
                continue
            node = self._add(db, owner, body[start:end])
            rest.append(body[position:start])
            length += start - position
            position = start + node.end
            pieces.append((length, node.id))
        if not pieces:
            return StoredBody(body, None, size_bytes)
        rest.append(body[position:])
        return _stored(rest, pieces, size_bytes)

    def _stored_rope(self, db: sqlite3.Connection, owner: str, body: Rope) -> StoredBody:
        rest: list[bytes] = []
        pieces: list[tuple[int, int]] = []
        length = 0
        for piece in body.pieces:
            if isinstance(piece, SharedText):
                node, piece = self._chained(db, owner, piece)
                if node is not None:
                    pieces.append((length, node.id))
            rest.append(piece)
            length += len(piece)
        return _stored(rest, pieces, len(body)) if pieces else StoredBody(bytes(body), None, len(body))

    def _chained(self, db: sqlite3.Connection, owner: str, text: SharedText) -> tuple[_Node | None, bytes]:
        """Return the last node of the chain of *text*, None without a chain, and what of the text is in no node."""
        if text.grows:
            return self._grown(db, text) if len(text) >= MIN_TEXT_BYTES else (None, bytes(text))
        whole = text.part
        if not self._is_chained(whole[:HEAD_BYTES], len(whole)):
            return None, whole
        node = self._add(db, owner, whole)
        return node, whole[node.end :]

    def _grown(self, db: sqlite3.Connection, text: SharedText) -> tuple[_Node | None, bytes]:
        """Write what is new in *text* after the part of it that is stored."""
        end = self._ends.get(text)
        if end is not None and not _exists(db, end.node):
            end = None
        if end is None:
            end = self._ends[text] = self._extended(db, text)
        node, rest = end
        if len(rest) >= MIN_NODE_BYTES:  # this row's own: a longer text is cut elsewhere
            nodes = _chain(node._replace(end=0), rest, [len(rest)])
            _write(db, nodes, rest)
            node, rest = nodes[-1], b""
        return (node if node.id else None), rest

    def _extended(self, db: sqlite3.Connection, text: SharedText) -> _End:
        new: list[bytes] = []
        end = _End(_BEGINNING, b"")
        earlier: SharedText | None = text
        while earlier is not None:
            known = self._ends.get(earlier)
            if known is not None and _exists(db, known.node):  # it may have been removed meanwhile
                end = known
                break
            new.append(earlier.part)
            earlier = earlier.before
        rest = end.rest + b"".join(reversed(new))
        cuts, ends_with_text = _cuts(rest + b"]", 0)
        nodes = _chain(end.node._replace(end=0), rest, cuts[:-1] if ends_with_text else cuts)
        if len(nodes) == 1:
            return _End(end.node, rest)
        _write(db, nodes, rest)
        return _End(nodes[-1], rest[nodes[-1].end :])

    def _is_chained(self, head: bytes, size_bytes: int) -> bool:
        return size_bytes >= LONG_TEXT_BYTES or self._began_like_that(head)

    def _began_like_that(self, head: bytes) -> bool:
        """Return whether an earlier text had this beginning, and remember it."""
        is_repeated = head in self._heads
        self._heads[head] = None
        return is_repeated

    def _add(self, db: sqlite3.Connection, owner: str, text: bytes) -> _Node:
        """Return the last node of the chain of *text*; fewer than MIN_NODE_BYTES at its end may be in no node."""
        key = owner, text[:HEAD_BYTES]
        resumed = self._resumed(db, key, text)
        cuts, ends_with_text = _cuts(text, resumed.end)
        nodes = _chain(resumed, text, cuts)
        _write(db, nodes, text)
        self._remember(key, text, nodes[-2] if ends_with_text else nodes[-1])
        return nodes[-1]

    def _resumed(self, db: sqlite3.Connection, key: tuple[str, bytes], text: bytes) -> _Node:
        """Return the last node that *text* shares with the last text like it."""
        recent = self._recent.get(key)
        if recent is None or not text.startswith(recent[0]):
            return _BEGINNING
        node = recent[1]
        return node if _exists(db, node) else _BEGINNING  # it may have been removed meanwhile

    def _remember(self, key: tuple[str, bytes], text: bytes, node: _Node) -> None:
        previous, _ = self._recent.pop(key, (b"", None))
        self._recent_bytes += node.end - len(previous)
        self._recent[key] = text[: node.end], node
        while self._recent_bytes > RECENT_BYTES or len(self._recent) > RECENT_TEXTS:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1][0])


def remove_unused(db: sqlite3.Connection, limit: int) -> int:
    """Remove up to *limit* nodes that no row and no node refers to; return how many."""
    unused = [row[0] for row in db.execute("SELECT id FROM nodes WHERE uses = 0 LIMIT ?", (limit,))]
    count = 0
    while unused and count < limit:
        number = unused.pop()
        references = db.execute("SELECT parent, copy_of FROM nodes WHERE id = ?", (number,)).fetchone()
        db.execute("DELETE FROM nodes WHERE id = ?", (number,))
        count += 1
        for reference in filter(None, references):
            db.execute("UPDATE nodes SET uses = uses - 1 WHERE id = ?", (reference,))
            unused += [row[0] for row in db.execute("SELECT id FROM nodes WHERE id = ? AND uses = 0", (reference,))]
    return count


def _cuts(text: bytes, start: int) -> tuple[list[int], bool]:
    """Return where *text* is cut after *start*, itself a cut; and whether the last cut is just the end of the text."""
    cuts: list[int] = []
    position, size = start, len(text)
    while size - position >= MIN_NODE_BYTES:
        item = _END_OF_ITEM.search(text, position + MIN_NODE_BYTES, position + MAX_NODE_BYTES)
        if item is not None:
            position = item.start()
        elif size - position >= MAX_NODE_BYTES:
            position += MAX_NODE_BYTES
        else:
            return [*cuts, size], True
        cuts.append(position)
    return cuts, False


def _stored(rest: list[bytes], pieces: list[tuple[int, int]], size_bytes: int) -> StoredBody:
    return StoredBody(zlib.compress(b"".join(rest), 1), json.dumps(pieces, separators=(",", ":")), size_bytes)


def _chain(first: _Node, text: bytes, cuts: list[int]) -> list[_Node]:
    """Return *first* and the nodes after it, of which the parts of *text* up to each cut are to be written."""
    nodes = [first]
    for cut in cuts:
        parent = nodes[-1]
        nodes.append(_Node(0, _hash(parent.hash, text[parent.end : cut]), cut))
    return nodes


def _write(db: sqlite3.Connection, nodes: list[_Node], text: bytes) -> None:
    """Write those of *nodes* that do not exist, and set their numbers; a row or a node will refer to the last one."""
    existing = _existing(db, nodes)
    for place in range(existing + 1, len(nodes)):
        is_last = place == len(nodes) - 1
        nodes[place] = _insert(db, nodes[place - 1], nodes[place], text, uses=0 if is_last else 1)
    if existing < len(nodes) - 1:
        _count_use(db, nodes[existing].id)


def _exists(db: sqlite3.Connection, node: _Node) -> bool:
    return not node.id or _id_of(db, node.hash) == node.id


def _hash(parent: bytes, text: bytes) -> bytes:
    return blake2b(parent + text, digest_size=_HASH_BYTES).digest()


def _existing(db: sqlite3.Connection, nodes: list[_Node]) -> int:
    """Return which of *nodes* is the last one that exists, and give it its number: a parent outlives its children."""
    existing, missing = 0, len(nodes)
    while missing - existing > 1:
        middle = (existing + missing) // 2
        number = _id_of(db, nodes[middle].hash)
        if number:
            existing = middle
            nodes[middle] = nodes[middle]._replace(id=number)
        else:
            missing = middle
    return existing


def _id_of(db: sqlite3.Connection, digest: bytes) -> int:
    row = db.execute("SELECT id FROM nodes WHERE hash = ?", (digest,)).fetchone()
    return int(row[0]) if row is not None else 0


def _insert(db: sqlite3.Connection, parent: _Node, node: _Node, text: bytes, uses: int) -> _Node:
    part = text[parent.end : node.end]
    content = _hash(b"", part)
    original = db.execute("SELECT id FROM nodes WHERE content = ?", (content,)).fetchone()
    values: tuple[int, bytes, bytes | None, int, int, bytes] = (
        (parent.id, node.hash, content, 0, uses, part)
        if original is None
        else (parent.id, node.hash, None, original[0], uses, b"")
    )
    if original is not None:
        _count_use(db, original[0])
    number = db.execute(
        "INSERT INTO nodes (parent, hash, content, copy_of, uses, body) VALUES (?,?,?,?,?,?)", values
    ).lastrowid
    return node._replace(id=number or 0)


def _count_use(db: sqlite3.Connection, number: int) -> None:
    if number:
        db.execute("UPDATE nodes SET uses = uses + 1 WHERE id = ?", (number,))

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

from ..encoding import otlp
from ..internals.bounded import BoundedDict

MIN_TEXT_BYTES = 1024
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


_BEGINNING = _Node(0, b"", 0)


class Chains:
    """Writes chains into one journal. For one thread, inside of transactions.

    It remembers the last texts, so that a longer one is compared with the text before, and not hashed again.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[str, bytes], tuple[bytes, _Node]] = OrderedDict()
        self._recent_bytes = 0
        self._heads: BoundedDict[bytes, None] = BoundedDict(HEADS_LIMIT)

    def stored(self, db: sqlite3.Connection, owner: str, body: bytes) -> StoredBody:
        """Return *body* as it is stored, with its large texts in chains.

        Args:
            owner: the session or trace whose texts resemble each other.
        """
        size_bytes = len(body)
        if size_bytes < MIN_TEXT_BYTES:
            return StoredBody(body, None, size_bytes)
        rest: list[bytes] = []
        pieces: list[tuple[int, int]] = []
        position = length = 0
        for start, end in otlp.large_texts(body, MIN_TEXT_BYTES):
            if end - start < LONG_TEXT_BYTES and not self._began_like_that(body[start : start + HEAD_BYTES]):
                continue
            node = self._add(db, owner, body[start:end])
            rest.append(body[position:start])
            length += start - position
            position = start + node.end
            pieces.append((length, node.id))
        if not pieces:
            return StoredBody(body, None, size_bytes)
        rest.append(body[position:])
        return StoredBody(zlib.compress(b"".join(rest), 1), json.dumps(pieces, separators=(",", ":")), size_bytes)

    def _began_like_that(self, head: bytes) -> bool:
        """Return whether an earlier text had this beginning, and remember it."""
        is_repeated = head in self._heads
        self._heads[head] = None
        return is_repeated

    def _add(self, db: sqlite3.Connection, owner: str, text: bytes) -> _Node:
        """Return the last node of the chain of *text*; fewer than MIN_NODE_BYTES at its end may be in no node."""
        key = owner, text[:HEAD_BYTES]
        nodes = [self._resumed(db, key, text)]
        cuts, ends_with_text = _cuts(text, nodes[0].end)
        for cut in cuts:
            parent = nodes[-1]
            nodes.append(_Node(0, _hash(parent.hash, text[parent.end : cut]), cut))
        existing = _existing(db, nodes)
        for place in range(existing + 1, len(nodes)):
            is_last = place == len(nodes) - 1  # the row that refers to it follows
            nodes[place] = _insert(db, nodes[place - 1], nodes[place], text, uses=0 if is_last else 1)
        if existing < len(nodes) - 1:
            _count_use(db, nodes[existing].id)
        self._remember(key, text, nodes[-2] if ends_with_text else nodes[-1])
        return nodes[-1]

    def _resumed(self, db: sqlite3.Connection, key: tuple[str, bytes], text: bytes) -> _Node:
        """Return the last node that *text* shares with the last text like it."""
        recent = self._recent.get(key)
        if recent is None or not text.startswith(recent[0]):
            return _BEGINNING
        node = recent[1]
        return node if _id_of(db, node.hash) == node.id else _BEGINNING  # it may have been removed meanwhile

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

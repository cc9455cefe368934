"""Nodes: the parts of large texts in the file, each written once. What they are for is in chains.py."""

from __future__ import annotations

import re
import sqlite3
import zlib
from hashlib import blake2b
from typing import NamedTuple

MIN_NODE_BYTES = 256
MAX_NODE_BYTES = 4096
_END_OF_ITEM = re.compile(rb"\}(?=,\{|\])")
"""Where an object in a JSON list ends; the cut is before the brace, since what follows it depends on what follows."""
_HASH_BYTES = 16
_LEVEL = 1
_RAW_DEFLATE = -15


class Node(NamedTuple):
    """A node in the file; the text of its chain ends after *end* bytes."""

    id: int
    hash: bytes
    end: int


BEGINNING = Node(0, b"", 0)


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


def cuts_of(text: bytes, start: int) -> tuple[list[int], bool]:
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


def chain(first: Node, text: bytes, cuts: list[int]) -> list[Node]:
    """Return *first* and the nodes after it, of which the parts of *text* up to each cut are to be written."""
    nodes = [first]
    for cut in cuts:
        parent = nodes[-1]
        nodes.append(Node(0, _hash(parent.hash, text[parent.end : cut]), cut))
    return nodes


def write(db: sqlite3.Connection, nodes: list[Node], text: bytes) -> None:
    """Write those of *nodes* that do not exist, and set their numbers; a row or a node will refer to the last one."""
    existing = _existing(db, nodes)
    for place in range(existing + 1, len(nodes)):
        is_last = place == len(nodes) - 1
        nodes[place] = _insert(db, nodes[place - 1], nodes[place], text, uses=0 if is_last else 1)
    if existing < len(nodes) - 1:
        _count_use(db, nodes[existing].id)


def inflated_part(body: bytes, size_bytes: int | None) -> bytes:
    """Return the text of a node.

    Args:
        body, size_bytes: these columns of the node.

    Raises:
        zlib.error: the node is damaged.
    """
    if size_bytes is None:
        return body
    part = zlib.decompress(body, _RAW_DEFLATE, size_bytes)
    if len(part) != size_bytes:
        raise zlib.error("a part of a text has another size")
    return part


def _deflated_part(part: bytes) -> tuple[bytes, int | None]:
    """Return *part* as a node holds it: `body` and `size_bytes`."""
    body = zlib.compress(part, _LEVEL, _RAW_DEFLATE)  # in one call: each one waits for the interpreter lock
    return (body, len(part)) if len(body) < len(part) else (part, None)


def exists(db: sqlite3.Connection, node: Node) -> bool:
    """Return whether *node* is in the file, or is the beginning of every chain."""
    return not node.id or _id_of(db, node.hash) == node.id


def _hash(parent: bytes, text: bytes) -> bytes:
    return blake2b(parent + text, digest_size=_HASH_BYTES).digest()


def _existing(db: sqlite3.Connection, nodes: list[Node]) -> int:
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


def _insert(db: sqlite3.Connection, parent: Node, node: Node, text: bytes, uses: int) -> Node:
    part = text[parent.end : node.end]
    content = _hash(b"", part)
    original = db.execute("SELECT id FROM nodes WHERE content = ?", (content,)).fetchone()
    values: tuple[int, bytes, bytes | None, int, int, bytes, int | None] = (
        (parent.id, node.hash, content, 0, uses, *_deflated_part(part))
        if original is None
        else (parent.id, node.hash, None, original[0], uses, b"", None)
    )
    if original is not None:
        _count_use(db, original[0])
    number = db.execute(
        "INSERT INTO nodes (parent, hash, content, copy_of, uses, body, size_bytes) VALUES (?,?,?,?,?,?,?)", values
    ).lastrowid
    return node._replace(id=number or 0)


def _count_use(db: sqlite3.Connection, number: int) -> None:
    if number:
        db.execute("UPDATE nodes SET uses = uses + 1 WHERE id = ?", (number,))

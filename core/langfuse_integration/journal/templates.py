"""Deflates what rows hold beside their large texts: most of it is the same in all rows of one kind.

A row is deflated with a dictionary: an earlier row of its kind, which is kept in a node, and the end of its own last
text in nodes, which often holds what the row repeats.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence

from ..internals.bounded import BoundedDict
from .nodes import BEGINNING, MAX_NODE_BYTES, Node, chain, exists, write

TEMPLATE = -1
"""Stands in `pieces` where other entries have a place: the node after it is the row's template, or 0."""
KINDS_LIMIT = 256
TAIL_BYTES = 2048
"""What the dictionary takes from the end of a row's last text."""
LEVEL = 1
Pieces = Sequence[tuple[int, int]]


class Templates:
    """The templates of one journal. For one thread, inside of transactions."""

    def __init__(self) -> None:
        self._nodes: BoundedDict[str, tuple[Node, bytes] | None] = BoundedDict(KINDS_LIMIT)

    def deflated(
        self, db: sqlite3.Connection, kind: str, rest: bytes, pieces: Pieces, tail: bytes
    ) -> tuple[bytes, str]:
        """Return *rest* deflated, and the text of *pieces* with the template.

        Args:
            kind: what rows that resemble each other have in common.
            tail: the end of the last text in *pieces*.
        """
        node, text = self._template(db, kind, rest)
        entries = [(TEMPLATE, node.id), *pieces]
        return _deflated(rest, text + tail[-TAIL_BYTES:]), json.dumps(entries, separators=(",", ":"))

    def _template(self, db: sqlite3.Connection, kind: str, rest: bytes) -> tuple[Node, bytes]:
        """Return the template of *kind*; the second row of a kind becomes one."""
        template = self._nodes.get(kind)
        if template is not None and exists(db, template[0]):
            return template
        if template is None and kind not in self._nodes:
            self._nodes[kind] = None
            return BEGINNING, b""
        text = rest[:MAX_NODE_BYTES]
        nodes = chain(BEGINNING, text, [len(text)])
        write(db, nodes, text)
        self._nodes[kind] = template = nodes[-1], text
        return template


def inflated(body: bytes, pieces: str, text_of: Callable[[int], bytes]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return what a row holds beside its large texts, and (where it belongs, text) of each of these.

    Args:
        body, pieces: these columns of the row.
        text_of: returns the text of a chain by its last node.

    Raises:
        zlib.error, ValueError, TypeError: the row is damaged.
    """
    entries = [(int(place), int(last)) for place, last in json.loads(pieces)]
    if not entries or entries[0][0] != TEMPLATE:
        return zlib.decompress(body), [(place, text_of(last)) for place, last in entries]
    texts = [(place, text_of(last)) for place, last in entries[1:]]
    template = entries[0][1]
    dictionary = (text_of(template) if template else b"") + (texts[-1][1][-TAIL_BYTES:] if texts else b"")
    inflating = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
    rest = inflating.decompress(body)
    if not inflating.eof:
        raise zlib.error("it ends too early")
    return rest, texts


def _deflated(rest: bytes, dictionary: bytes) -> bytes:
    if not dictionary:
        return zlib.compress(rest, LEVEL)
    deflating = zlib.compressobj(LEVEL, zdict=dictionary)
    return deflating.compress(rest) + deflating.flush()

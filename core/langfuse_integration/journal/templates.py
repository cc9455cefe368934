"""Deflates what rows hold beside their large texts: most of it is the same in all rows of one kind.

A row is deflated with a dictionary: an earlier row of its kind, which is kept in a node, and the end of a text in nodes
that is likely to hold what the row repeats. The answer of a model, for example, is in the history that follows. Both
are of the row's own session: what a session says is removed with it.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..internals.bounded import BoundedDict
from .nodes import BEGINNING, Node, chain, exists, write

TEMPLATE, NEIGHBOUR = -1, -2
"""Stand in the first entries of `pieces`, where others have a place, before a node of the dictionary."""
KINDS_LIMIT = 1_000
TEMPLATE_BYTES = 2048
END_BYTES = 4096
"""What the dictionary takes from the end of a neighbour."""
LEVEL = 1
Pieces = Sequence[tuple[int, int]]


class Neighbour(NamedTuple):
    """A text in nodes.

    Attributes:
        node: the last one.
        end: its last END_BYTES.
    """

    node: Node
    end: bytes
    size_bytes: int


class Templates:
    """The templates of one journal. For one thread, inside of transactions."""

    def __init__(self) -> None:
        self._nodes: BoundedDict[str, tuple[Node, bytes] | None] = BoundedDict(KINDS_LIMIT)

    def deflated(
        self, db: sqlite3.Connection, kind: str, rest: bytes, pieces: Pieces, neighbour: Neighbour
    ) -> tuple[bytes, str]:
        """Return *rest* deflated, and the text of *pieces* with the nodes of the dictionary.

        Args:
            kind: what rows of one session that resemble each other have in common.
            neighbour: a text that *rest* may repeat in part.
        """
        template, text = self._template(db, kind, rest)
        entries = [(TEMPLATE, template.id), (NEIGHBOUR, neighbour.node.id), *pieces]
        listed = [entry for entry in entries if entry[1]]
        return _deflated(rest, text + neighbour.end), json.dumps(listed, separators=(",", ":"))

    def _template(self, db: sqlite3.Connection, kind: str, rest: bytes) -> tuple[Node, bytes]:
        """Return the template of *kind*; the second row of a kind becomes one."""
        template = self._nodes.get(kind)
        if template is not None and exists(db, template[0]):
            return template
        if template is None and kind not in self._nodes:
            self._nodes[kind] = None
            return BEGINNING, b""
        text = rest[:TEMPLATE_BYTES]
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
    texts = [(place, text_of(last)) for place, last in entries if place >= 0]
    ends = {TEMPLATE: TEMPLATE_BYTES, NEIGHBOUR: END_BYTES}
    dictionary = b"".join(text_of(last)[-ends[place] :] for place, last in entries if place < 0)
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

"""Rows of the table `spans` as statements write and read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..encoding.row import Row
from .bodies import Bodies
from .deflating import Origin

_COLUMNS = (*Row._fields, "pieces", "size_bytes", "writer")
STORED_COLUMNS = ", ".join((*Row._fields, "writer", "state", "reason"))
INSERT_STORED = (
    f"INSERT OR IGNORE INTO spans ({', '.join((*_COLUMNS, 'state', 'reason'))}) "
    f"VALUES ({','.join('?' * (len(_COLUMNS) + 2))})"
)
ROWS_PER_INSERT = 64
"""Rows in one INSERT: each statement releases the interpreter lock and has to wait for it again."""


class StoredRow(NamedTuple):
    """A row and its state of delivery."""

    row: Row
    writer: int
    state: int
    reason: str | None

    @classmethod
    def of(cls, bodies: Bodies, pieces: str | None, values: Sequence[Any]) -> StoredRow:
        """Return the row of these values of Row's columns, writer, state and reason; raises BrokenChain."""
        columns = Row(*values[: len(Row._fields)])
        body = bodies.whole(bytes(columns.body), pieces, Origin.of(columns))
        return cls(columns._replace(body=body), *values[len(Row._fields) :])


def _insert(count: int) -> str:
    row = f"({','.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO spans ({', '.join(_COLUMNS)}) VALUES {','.join([row] * count)}"


INSERTS = {1 << power: _insert(1 << power) for power in range(ROWS_PER_INSERT.bit_length())}


def slices(count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, size) of slices with few different sizes, so that few statements are prepared."""
    start = 0
    while start < count:
        size = min(ROWS_PER_INSERT, 1 << ((count - start).bit_length() - 1))
        yield start, size
        start += size


def fitting(sizes: Sequence[str], max_bytes: int) -> int:
    """Return how many rows of these sizes are *max_bytes* together; one at least."""
    total = count = 0
    for count, size in enumerate(sizes, 1):
        total += int(size)
        if total > max_bytes:
            return max(count - 1, 1)
    return count

"""JSON fragments of immutable objects, so that each message of a history is serialised once."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import orjson

FRAGMENT_BYTES = 16 * 1024 * 1024


class Fragments:
    """JSON of immutable objects by identity: weak, bounded in bytes, the least recently used are evicted first."""

    def __init__(self, limit_bytes: int = FRAGMENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[int, tuple[weakref.ref[Any], orjson.Fragment, int]] = OrderedDict()

    def get(self, value: object) -> orjson.Fragment | None:
        """Return the fragment of *value*, or None."""
        key = id(value)
        entry = self._entries.get(key)
        if entry is None or entry[0]() is not value:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, value: object, fragment: orjson.Fragment, size_bytes: int) -> None:
        """Remember the fragment of *value*, unless *value* cannot be referred to weakly."""
        key = id(value)
        try:
            reference = weakref.ref(value)
        except TypeError:
            return
        self._drop(key)
        self._entries[key] = (reference, fragment, size_bytes)
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes and self._entries:
            self._drop(next(iter(self._entries)))

    def sweep(self) -> None:
        """Forget the fragments of objects that no longer exist."""
        for key in [key for key, (reference, *_) in self._entries.items() if reference() is None]:
            self._drop(key)

    def _drop(self, key: int) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry[2]

    def __len__(self) -> int:
        return len(self._entries)


fragments = Fragments()
"""The fragments of this process; used on the worker's thread."""

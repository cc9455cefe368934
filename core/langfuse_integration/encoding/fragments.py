"""JSON fragments of a framework's objects, so that each message of a history is serialised once.

A fragment holds while its object has the state that it was made of: applications change messages in place.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..recording.noted_messages import is_same
from ..recording.snapshot import ATOMS, snapshot

if TYPE_CHECKING:
    import orjson

FRAGMENT_BYTES = 16 * 1024 * 1024
StateReader = Callable[[Any], Any]
"""Returns what the JSON of an object is made of, by reference: dicts, lists and values that compare."""


class _Entry:
    __slots__ = ("batch", "fragment", "read", "reference", "size_bytes", "state")

    def __init__(
        self, value: object, read: StateReader, state: Any, fragment: orjson.Fragment, size_bytes: int
    ) -> None:
        self.reference = weakref.ref(value)
        self.read = read
        self.state = state
        self.fragment = fragment
        self.size_bytes = size_bytes
        self.batch: object = None


class Fragments:
    """JSON of objects by identity: weak, bounded in bytes, the least recently used are evicted first.

    Attributes:
        batch: stands for the batch of rows that is being encoded, or None. States are compared once for each batch:
            the rows in it were noted before it began.
    """

    def __init__(self, limit_bytes: int = FRAGMENT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self.batch: object | None = None

    @contextmanager
    def one_batch(self) -> Generator[None]:
        """Compare the state of each object once within the block."""
        self.batch = object()
        try:
            yield
        finally:
            self.batch = None

    def get(self, value: object) -> orjson.Fragment | None:
        """Return the fragment of *value*, or None if there is none of its present state."""
        key = id(value)
        entry = self._entries.get(key)
        if entry is None or entry.reference() is not value:
            return None
        if entry.batch is not self.batch or self.batch is None:
            if not is_same(entry.read(value), entry.state):
                self._drop(key)
                return None
            entry.batch = self.batch
        self._entries.move_to_end(key)
        return entry.fragment

    def state(self, value: object) -> Any:
        """Return the state that the fragment of *value* was made of; None if there is no fragment."""
        entry = self._entries.get(id(value))
        return entry.state if entry is not None and entry.reference() is value else None

    def put(self, value: object, fragment: orjson.Fragment, size_bytes: int, read: StateReader, state: Any) -> None:
        """Remember the fragment of *value*, unless *value* cannot be referred to weakly.

        Args:
            state: a copy of what *read* returned before the fragment was made.
        """
        key = id(value)
        try:
            entry = _Entry(value, read, state, fragment, size_bytes)
        except TypeError:
            return
        self._drop(key)
        self._entries[key] = entry
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes and self._entries:
            self._drop(next(iter(self._entries)))

    def sweep(self) -> None:
        """Forget the fragments of objects that no longer exist."""
        for key in [key for key, entry in self._entries.items() if entry.reference() is None]:
            self._drop(key)

    def _drop(self, key: int) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry.size_bytes

    def __len__(self) -> int:
        return len(self._entries)


def copied(state: Any) -> Any:
    """Return a copy of a state that does not change with its object."""
    if type(state) is not tuple:
        return snapshot(state)
    copies = list(state)
    for place, item in enumerate(copies):
        if type(item) not in ATOMS:
            copies[place] = snapshot(item)
    return tuple(copies)


fragments = Fragments()
"""The fragments of this process; used on the worker's thread."""

"""KeyValueStore: small values by key that live for a while, in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import Protocol, TypeVar

from ...internals import forks

T = TypeVar("T")

KEPT_S = 7 * 86_400.0
"""Seconds after its last change for which a value is kept: a conversation that rests for longer begins anew."""
LIMIT = 10_000
"""Values that a process keeps in memory; the longest unchanged go first."""


class KeyValueStore(Protocol):
    """Where values are kept. None of it raises, and only a result that somebody waits for takes time."""

    def put(self, key: str, value: bytes) -> Future[None]:
        """Keep *value* as the youngest one; done when everybody sees it who shares the store."""
        ...

    def get(self, key: str) -> Future[bytes | None]:
        """Return the value of *key*, None when there is none (any more)."""
        ...

    def look(self, key: str) -> bytes | None:
        """Return what this process itself knows of *key*, at once."""
        ...

    def claim(self, key: str, value: bytes) -> Future[bytes]:
        """Keep *value* unless there is one, and return the one that is there then."""
        ...

    def close(self, timeout_s: float) -> None:
        """Write what has to be written, within *timeout_s* seconds, and let go."""
        ...


class MemoryStore:
    """A store for one process.

    Args:
        limit: how many values are kept.
        kept_s: for how many seconds after its last change each is kept.
    """

    def __init__(self, limit: int = LIMIT, kept_s: float = KEPT_S) -> None:
        self._limit = limit
        self._kept_s = kept_s
        self._lock = forks.Lock()
        self._held: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: str, value: bytes) -> Future[None]:
        """Keep *value* as the youngest one."""
        with self._lock:
            self._keep(key, value)
        return done(None)

    def get(self, key: str) -> Future[bytes | None]:
        """Return the value of *key*, None when there is none (any more)."""
        return done(self.look(key))

    def look(self, key: str) -> bytes | None:
        """Return what is known of *key*, at once."""
        with self._lock:
            return self._fresh(key)

    def all(self) -> list[tuple[str, bytes]]:
        """Return all that is known, the longest unchanged first."""
        now = time.monotonic()
        with self._lock:
            return [(key, value) for key, (until, value) in self._held.items() if until >= now]

    def claim(self, key: str, value: bytes) -> Future[bytes]:
        """Keep *value* unless there is one, and return the one that is there then."""
        with self._lock:
            there = self._fresh(key) or value
            self._keep(key, there)
        return done(there)

    def close(self, timeout_s: float = 0.0) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()

    def _fresh(self, key: str) -> bytes | None:
        found = self._held.get(key)
        if found is None:
            return None
        if found[0] < time.monotonic():
            del self._held[key]
            return None
        return found[1]

    def _keep(self, key: str, value: bytes) -> None:
        self._held.pop(key, None)
        self._held[key] = (time.monotonic() + self._kept_s, value)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)


def done(value: T) -> Future[T]:
    """Return a future that has *value* already."""
    future: Future[T] = Future()
    future.set_result(value)
    return future

"""A dictionary that cannot grow beyond a limit: the entry that was inserted first goes first."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """A dict of at most *limit* entries, for several threads; only `[]=` may add to it.

    Setting a key again keeps its place in the order.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            self._evict()

    def renew(self, key: K, value: V) -> None:
        """Set *key* as the youngest entry."""
        self.pop(key, None)
        self[key] = value

    def _evict(self) -> None:
        while len(self) > self.limit:
            try:
                self.pop(next(iter(self)), None)
            except (RuntimeError, StopIteration):  # another thread changed it between the two steps
                continue

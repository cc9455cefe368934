"""Dictionaries that cannot grow beyond a limit: the entry that was inserted first goes first."""

from __future__ import annotations

from itertools import islice
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """A dict of at most *limit* entries, for several threads; only `[]=` may add to it.

    Setting a key again keeps its place in the order. Each `[]=` is a call of a Python function: the hottest places have
    a plain dict, compare its length with the limit themselves, and call `shrink`.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.limit:
            shrink(self, self.limit)

    def renew(self, key: K, value: V) -> None:
        """Set *key* as the youngest entry."""
        self.pop(key, None)
        self[key] = value


def shrink(entries: dict[Any, Any], size: int) -> None:
    """Remove the oldest entries until at most *size* are left, whatever other threads do to the dict meanwhile."""
    while len(entries) > size:
        try:
            oldest = list(islice(entries, max(0, len(entries) - size)))
        except RuntimeError:  # another thread changed it between two steps
            continue
        for key in oldest:
            entries.pop(key, None)

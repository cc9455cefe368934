"""Attributes of classes and modules that are replaced for the time of a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...internals import forks

_MISSING: Any = object()


class Patches:
    """Replaces attributes, each once, and puts all of them back."""

    def __init__(self) -> None:
        self._originals: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self._lock = forks.Lock()

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Replace the attribute that *owner* itself defines by `make(original)`; do nothing where it has none."""
        with self._lock:
            original = vars(owner).get(name, _MISSING)
            if original is _MISSING or (id(owner), name) in self._originals:
                return
            self._originals[id(owner), name] = owner, name, original
            setattr(owner, name, make(original))

    def undo(self) -> None:
        """Put all originals back."""
        with self._lock:
            for owner, name, original in self._originals.values():
                setattr(owner, name, original)
            self._originals.clear()

"""The seams of the installed adapters, found by entry points: core imports no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ...errors import MissingExtra

GROUP = "langfuse_integration.replay"

Seam = Callable[[Any], AbstractContextManager[None]]
"""Called with the `ReplaySession`; the block answers from it."""


@cache
def _installed() -> dict[str, EntryPoint]:
    """Return the seams by name; looking for them reads the metadata of every installed package."""
    return {point.name: point for point in entry_points(group=GROUP)}


def seams_for(forms: Iterable[str]) -> Iterator[Seam]:
    """Yield the seams that read exact forms of these names, in the order of the seams' names.

    Raises:
        MissingExtra: no installed adapter reads one of them.
    """
    needed = {form.partition(".")[0] for form in forms}
    installed = _installed()
    for name in sorted(needed):
        if name not in installed:
            raise MissingExtra(f"the adapter that replays {name}", name)
        yield installed[name].load()

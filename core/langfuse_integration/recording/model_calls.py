"""Which model call is under way here: a framework registers how to tell its own, as in ambient.py.

A model's client may make a span of its own for a call that an adapter records: it asks here.
"""

from __future__ import annotations

from collections.abc import Callable

from . import ambient
from .observation import Observation

TYPES = ("generation", "embedding")
Source = Callable[[], Observation | None]

_sources: tuple[Source, ...] = ()


def register(source: Source) -> None:
    """Ask *source* from now on; registered twice it is asked once."""
    global _sources
    if source not in _sources:
        _sources = (*_sources, source)


def current() -> Observation | None:
    """Return the open generation or embedding whose code is running here, or None."""
    for source in _sources:
        call = source()
        if call is not None:
            return call
    parent = ambient.current()
    if isinstance(parent, Observation) and parent.type in TYPES and not parent.ended_ns:
        return parent
    return None

"""Run ids that the garbage collector has freed while their run was open: nobody can end such a run any more."""

from __future__ import annotations

import weakref
from collections import deque
from uuid import UUID

from langfuse_integration.internals.resets import on_reset

lost: deque[int] = deque()
"""Keys of runs whose id is no longer referenced; bounded by the registry, which gives up the oldest open runs."""
on_reset(lost.clear)


class RunIdReference(weakref.ref[UUID]):
    """A weak reference to a run's id that knows the run's key."""

    __slots__ = ("key",)

    key: int


def watched(run_id: UUID) -> RunIdReference:
    """Return a reference that puts the run's key into `lost` when *run_id* is freed before the reference."""
    reference = RunIdReference(run_id, _note)
    reference.key = run_id.int
    return reference


def _note(reference: weakref.ref[UUID]) -> None:
    lost.append(reference.key)  # type: ignore[attr-defined]  # nothing more: garbage is collected at any line

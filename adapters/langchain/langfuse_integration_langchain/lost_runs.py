"""Run ids and event loops that were freed while their run was open: nobody can end such a run any more."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Hashable
from typing import Any
from uuid import UUID

from langfuse_integration.internals.resets import on_reset
from langfuse_integration.recording.registry import Run


class RunReference(weakref.ref[Any]):
    """A weak reference for a run: to the run's id, or to the event loop that it runs in.

    Attributes:
        key: the run's.
        children: the open runs below a run that waits for its loop, by their keys; else None.
        run_id: in a reference to a loop: a weak reference to the run's id; else None.
    """

    # No slots: two of these mostly keep their defaults.
    key: Hashable
    children: dict[Hashable, Run] | None = None
    run_id: weakref.ref[UUID] | None = None


lost: deque[RunReference] = deque()
"""References of runs that nobody can end; bounded by the registry, which gives up the oldest open runs."""
forgotten = lost.append  # nothing more: garbage is collected at any line
on_reset(lost.clear)


def watched(run_id: UUID, children: dict[Hashable, Run] | None = None) -> RunReference:
    """Return a reference that goes to `lost` when *run_id* is freed before the reference."""
    reference = RunReference(run_id, forgotten)
    reference.key = run_id.int
    reference.children = children
    return reference


def watched_loop(loop: asyncio.AbstractEventLoop, run: Run) -> RunReference | None:
    """Return a reference that goes to `lost` when *loop* is freed before it; None if the loop allows none.

    It holds the open runs below *run*, but not the run, which would be a cycle for the garbage collector.
    """
    try:
        reference = RunReference(loop, forgotten)
    except TypeError:
        return None
    reference.key = run.key
    reference.children = run.children
    reference.run_id = run.state.run_id
    return reference

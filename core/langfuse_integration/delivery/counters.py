"""Counters of what this process recorded and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..recorder import QueueRecorder


class Stats(NamedTuple):
    """Numbers of this process since it started (or was forked, or was configured anew).

    Attributes:
        recorded: observations that ended, and spans of others that were taken along.
        delivered, pending, lost: what became of them; see `FlushResult`.
        dropped: lost because too much was waiting in memory; part of `lost`.
        reasons: how many were lost, by reason.
    """

    recorded: int
    delivered: int
    pending: int
    lost: int
    dropped: int
    reasons: dict[str, int]


def stats_of(recorder: QueueRecorder) -> Stats:
    """Return the counters of *recorder*."""
    delivered, pending, lost = recorder.result()
    reasons = dict(recorder.worker.reasons()) if recorder.worker is not None else {}
    if recorder.dropped:
        reasons["queue full"] = recorder.dropped
    return Stats(delivered + pending + lost, delivered, pending, lost, recorder.dropped, reasons)

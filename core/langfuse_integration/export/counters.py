"""Counters of recorded, delivered, pending and lost observations, also as OpenTelemetry metrics."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from ..internals.faults import shielded
from ..recording.recorder import QueueRecorder

METER = "langfuse-integration"
_with_metrics: weakref.WeakSet[QueueRecorder] = weakref.WeakSet()
_OFFERING = shielded("offering metrics")
_READING = shielded("reading metrics")


class DestinationCounts(NamedTuple):
    """Counts of this process for one destination beside Langfuse.

    Attributes:
        address: its URL.
        delivered: observations that it has accepted.
        waiting: observations that wait for it in the journal.
        refused: observations that it has refused; they are set aside with the reason.
        lost: observations that the journal gave up while they waited.
    """

    address: str
    delivered: int
    waiting: int
    refused: int
    lost: int


class Stats(NamedTuple):
    """Counts of this process since its start, its fork, or the last `configure()`.

    Attributes:
        recorded: observations that ended, spans of other libraries included.
        delivered, pending, lost: the parts of `recorded`; see `FlushResult`.
        handed_over: given to a Langfuse client that the application customised, which does not say what became of them.
        dropped: lost because too much was waiting in memory; part of `lost`.
        reasons: how many were lost, by reason.
        destinations: the counts of each destination beside Langfuse; the other counts are of Langfuse, or without keys
            of the journal.
    """

    recorded: int
    delivered: int
    pending: int
    lost: int
    dropped: int
    reasons: dict[str, int]
    handed_over: int = 0
    destinations: tuple[DestinationCounts, ...] = ()


def stats_of(recorder: QueueRecorder) -> Stats:
    """Return the counters of *recorder*."""
    delivered, pending, lost = recorder.result()
    worker = recorder.worker
    reasons = dict(worker.reasons()) if worker is not None else {}
    if recorder.dropped:
        reasons["queue full"] = recorder.dropped
    handed_over = worker.handed_over() if worker is not None else 0
    recorded = delivered + pending + lost + handed_over
    destinations = tuple(worker.destinations()) if worker is not None else ()
    return Stats(recorded, delivered, pending, lost, recorder.dropped, reasons, handed_over, destinations)


def offer_metrics(recorder: QueueRecorder) -> None:
    """Offer the counters as OpenTelemetry's observable instruments, once the application uses metrics itself.

    langfuse_integration.observations.delivered, .lost (by `reason`) and .pending, counted in {observation}. Nothing is
    offered unless the application has loaded `opentelemetry.metrics`: without it, nothing could read them.
    """
    metrics: Any = sys.modules.get("opentelemetry.metrics")
    if metrics is None or recorder in _with_metrics or not hasattr(metrics, "get_meter"):
        return
    _with_metrics.add(recorder)
    with _OFFERING:
        meter = metrics.get_meter(METER)
        make = {"counter": meter.create_observable_counter, "gauge": meter.create_observable_gauge}
        for kind, name, description in (
            ("counter", "delivered", "observations that Langfuse has"),
            ("counter", "lost", "observations that will never arrive"),
            ("gauge", "pending", "observations on their way"),
        ):
            read = _reader(weakref.ref(recorder), name, metrics.Observation)
            full_name = f"langfuse_integration.observations.{name}"
            make[kind](full_name, callbacks=[read], unit="{observation}", description=description)


def _reader(
    reference: weakref.ref[QueueRecorder], name: str, make: Callable[[int, dict[str, str]], Any]
) -> Callable[[Any], list[Any]]:
    def read(_options: Any) -> list[Any]:
        recorder = reference()
        if recorder is None:
            return []
        with _READING:
            if name == "lost":
                return [make(count, {"reason": reason}) for reason, count in stats_of(recorder).reasons.items()]
            return [make(getattr(recorder.result(), name), {})]
        return []

    return read

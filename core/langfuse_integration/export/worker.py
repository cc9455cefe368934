"""The worker: takes recorded observations off the queue in batches, and passes them to an outlet.

More than 300 lines: its loop, and who waits for it, share its counters.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..encoding import history
from ..encoding.attributes import IS_APP_ROOT, TYPE
from ..encoding.fragments import fragments
from ..encoding.row import row_places
from ..internals import faults, forks, garbage
from ..internals.faults import report
from ..recording.held import HeldRow
from ..recording.ids import new_chance
from ..recording.observation import Observation
from ..recording.recorder import QueueRecorder
from .counters import DestinationCounts, offer_metrics
from .outlet import Outlet
from .pacing import Pace, Paced

BATCH = 256
BACK_OFF = 4.0
BUSY_INTERVAL_S = 0.03
"""Rows are gathered for up to so long where writing takes long; not for longer, since only what is written survives a
kill. While other processes hold the journal, rows gather anyway.
"""
SETTLING_S = 0.05
"""How long after its start an open span of another library is written: its tracer sets attributes after the start."""
_HALF = (1 << 64) - 1
T = TypeVar("T")


class Worker:
    """One thread's loop between a recorder and an outlet.

    Args:
        interval_s: how long records are gathered before a batch is written.
        sample_rate: the share of traces that is kept, decided by trace id as OpenTelemetry's TraceIdRatioBased does.
    """

    def __init__(
        self, recorder: QueueRecorder, outlet: Outlet, interval_s: float = 0.05, sample_rate: float = 1.0
    ) -> None:
        self._recorder = recorder
        self._outlet = outlet
        self._interval_s = interval_s
        self.sample(sample_rate)
        self._took_s = 0.0
        self._pace = Pace(recorder.limit // 2)
        self._wake = recorder.wake
        self._stopped = self._ending = False
        self._written_here = False  # the process ends, and the queue is written on its own threads
        self._counting = forks.Lock()  # what is off the queue is counted at every moment
        self._taken = self._lost = 0
        self._popped = self._handled = 0  # like _taken, with what is not kept, and with openings and scores
        self._progress = threading.Condition()  # a forked child gets a worker of its own
        self._flushes = self._flushed = 0  # flushes that were requested, and those that are done

    # -- its own thread

    def run(self) -> None:
        """Work until `stop`; sleep while nothing is recorded."""
        recorder = self._recorder
        try:
            while not self._stopped:
                offer_metrics(recorder)
                garbage.let_go()
                if self._drain() or any(recorder.queues()):
                    self._gather()
                    continue
                fragments.sweep()
                history.texts.clear()
                pause_s = self._idle()
                recorder.asleep = True
                if not (self._stopped or self._flushes > self._flushed or any(recorder.queues())):
                    self._wake.wait(pause_s)
                recorder.asleep = False
                self._wake.clear()
                if any(recorder.queues()):
                    self._gather()
            self._drain()
        finally:
            with self._progress:
                self._stopped = True
                self._progress.notify_all()
            self._guarded("stopping the delivery", self._outlet.stop)

    def drain_here(self) -> None:
        """Write the queue on the calling thread: at the end of a process no thread can be started."""
        self._written_here = True
        self._drain()

    def _gather(self) -> None:
        """Wait for more records, unless a flush is waiting."""
        recorder = self._recorder
        if not (self._stopped or recorder.hurry):
            busy_s = min(BACK_OFF * self._took_s, BUSY_INTERVAL_S)
            self._wake.wait(max(self._interval_s, busy_s))
        self._wake.clear()

    def _drain(self) -> bool:
        """Pass everything in the queue to the outlet; return whether there was anything."""
        recorder = self._recorder
        with self._progress:
            flushes, ending = self._flushes, self._ending
        for sweep in recorder.sweeps:
            self._guarded("ending abandoned observations", sweep)
        goal = self._popped + sum(map(len, recorder.queues()))
        handled_before, began_s = self._handled, time.monotonic()
        while self._drain_batch():
            if (
                self._handled >= goal and self._flushes > self._flushed
            ):  # more is recorded all the time, but a flush waits
                break
        if ending:
            self._guarded("ending open observations", self._outlet.ending)
        with self._progress:
            self._ending = self._ending and not ending
            self._flushed = flushes
            self._progress.notify_all()
        self._took_s = time.monotonic() - began_s
        return self._handled > handled_before

    def _drain_batch(self) -> bool:
        recorder = self._recorder
        with self._counting:
            finished = _popped(recorder.queue, BATCH)
            openings = _popped(recorder.openings, BATCH, self._settled())
            scores = _popped(recorder.scores, BATCH)
            companions = _popped(recorder.companions, BATCH) if recorder.companions else []
            count = len(finished) + len(openings) + len(scores) + len(companions)
            kept = [record for record in finished if self._is_recorded(record)]
            self._taken += len(kept)
            self._popped += count
        if not count:
            return False
        new_chance()
        self._pace.behind(len(recorder.queue), hurried=recorder.hurry > 0)
        done = False
        try:
            with fragments.one_batch():
                self._outlet.take(
                    Paced(kept, self._pace),
                    [record for record in openings if self._is_recorded(record) and _is_journaled(record)],
                    [score for score in scores if self._is_sampled(score.trace)],
                )
                done = True
                if companions:
                    self._outlet.accompany([span for span in companions if self._is_recorded(span)])
        except Exception as error:
            report("writing observations", error)
            if faults.strict:
                raise
        finally:
            with self._counting:
                self._lost += 0 if done else len(kept)
            with self._progress:
                self._handled += count
                self._progress.notify_all()
        return True

    def _settled(self) -> Callable[[Any], bool] | None:
        """Return which open records are to be written now; None for all."""
        if self._stopped or self._written_here or self._recorder.hurry:
            return None
        now_ns = time.time_ns()
        since_ns = now_ns - int(SETTLING_S * 1e9)
        return lambda record: isinstance(record, Observation) or not since_ns < (record.start_time or 0) <= now_ns

    def _is_recorded(self, record: Any) -> bool:
        """Return whether *record* is in a sampled trace, and was started in this process or by a parent that ended."""
        if self._sample_bound is None and not self._recorder.born_ns:
            return True
        if isinstance(record, Observation):
            trace, started_ns = record.trace, record.started_ns
        else:
            context, started_ns = record.get_span_context(), record.start_time or 0
            trace, _ = row_places().get(context.span_id) or (context.trace_id, 0)
        return not self._recorder.is_of_parent(started_ns) and self._is_sampled(trace)

    def _is_sampled(self, trace: int) -> bool:
        return self._sample_bound is None or trace & _HALF < self._sample_bound

    def sample(self, rate: float) -> None:
        """Set the share of traces that is kept."""
        self._sample_bound = round(rate * (1 << 64)) if rate < 1 else None

    def _idle(self) -> float | None:
        return self._guarded("tidying up", self._outlet.idle)

    def _guarded(self, doing: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception as error:
            report(doing, error)
            if faults.strict:
                raise
        return None

    # -- any thread

    def flush(self, deadline: float, written_by: float | None = None, ending: bool = False) -> None:
        """Wait until everything recorded before this call is written and delivered, or until *deadline*.

        Args:
            written_by: until when to wait for it to be written, if not until *deadline*.
            ending: the process ends: end open observations too, and stop early if retrying cannot help.
        """
        self.write(written_by or deadline, ending)
        (self._outlet.finish if ending else self._outlet.flush)(deadline)

    def write(self, deadline: float, ending: bool = False) -> None:
        """Wait until everything recorded before this call is written, or until *deadline*.

        Args:
            ending: the process ends: end open observations too.
        """
        recorder = self._recorder
        with self._progress:
            self._ending = self._ending or ending
            self._flushes += 1
            number = self._flushes
            recorder.hurry += 1
            self._wake.set()
            try:
                while self._flushed < number and not self._stopped:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        break
                    self._progress.wait(left_s)
            finally:
                recorder.hurry -= 1

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of everything recorded, the queue included."""
        with self._counting:
            delivered, _, lost = self._outlet.outcome()
            taken = self._taken + len(self._recorder.queue)
            lost += self._lost
            pending = taken - delivered - lost - self._outlet.handed_over()
            return delivered, max(pending, 0), lost

    def handed_over(self) -> int:
        """Return how many observations were given to a foreign exporter."""
        return self._outlet.handed_over()

    def fails(self) -> bool:
        """Return whether the last attempt to deliver to Langfuse failed."""
        return self._outlet.fails()

    def reasons(self) -> Mapping[str, int]:
        """Return the number of lost observations by reason."""
        return {**self._outlet.reasons(), **({"failed to be written": self._lost} if self._lost else {})}

    def destinations(self) -> Sequence[DestinationCounts]:
        """Return the counts of each destination beside Langfuse."""
        return self._outlet.destinations()

    def stop(self) -> None:
        """End the loop after one more round."""
        self._stopped = True
        self._wake.set()

    def unwritten(self) -> int:
        """Return how many observations only the memory of this process has, after a failure of the journal."""
        return self._outlet.unwritten()

    def say_lost(self) -> None:
        """Warn of what is lost because the process ends now."""
        self._guarded("saying what is lost", self._outlet.say_lost)

    def forked(self) -> None:
        """Release resources of the parent process, in a forked child."""
        self._outlet.forked()


def _is_journaled(record: Any) -> bool:
    """Return whether to journal an open observation so that a crash does not lose it.

    Of spans of other libraries only roots of this process and agents are journaled; an agent is recognised by an
    attribute that is set after its start.
    """
    if isinstance(record, HeldRow):
        return record.waits
    if isinstance(record, Observation):
        return not record.ended_ns
    if record.end_time:
        return False
    if record.parent is None or record.parent.is_remote:
        return True
    attributes: Mapping[str, Any] = record.attributes or {}
    return bool(attributes.get(IS_APP_ROOT)) or attributes.get(TYPE) == "agent"


def _popped(queue: deque[Any], count: int, is_due: Callable[[Any], bool] | None = None) -> list[Any]:
    """Return up to *count* records off *queue*, up to the first one that is not due."""
    records: list[Any] = []
    try:
        while len(records) < count and (is_due is None or is_due(queue[0])):
            records.append(queue.popleft())
    except IndexError:
        pass
    return records

"""The worker: takes what was noted off the queue in batches, and hands it to an outlet."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from ..encoding import history
from ..encoding.attributes import IS_APP_ROOT, TYPE
from ..encoding.json_text import fragments
from ..internals import faults, forks
from ..internals.faults import report
from ..recording.observation import Observation
from ..recording.recorder import QueueRecorder
from .counters import offer_metrics
from .outlet import Outlet
from .pacing import Pace, Paced

BATCH = 256
_HALF = (1 << 64) - 1


class Worker:
    """One thread's loop between a recorder and an outlet.

    Args:
        interval_s: how long it gathers before it writes.
        sample_rate: the share of traces that is kept, told by their ids as OpenTelemetry's TraceIdRatioBased does.
    """

    def __init__(
        self, recorder: QueueRecorder, outlet: Outlet, interval_s: float = 0.05, sample_rate: float = 1.0
    ) -> None:
        self._recorder = recorder
        self._outlet = outlet
        self._interval_s = interval_s
        self._bound = round(sample_rate * (1 << 64)) if sample_rate < 1 else None
        self._pace = Pace(recorder.limit // 2)
        self._stopped = self._ending = False
        self._counted = forks.Lock()  # what is off the queue is counted, at every moment
        self._taken = self._lost = 0
        self._popped = self._handled = 0  # the same with what is not kept, and with openings and scores
        self._progress = threading.Condition()
        self._asked = self._answered = 0  # flushes, and those whose round is over

    # -- its own thread

    def run(self) -> None:
        """Work until `stop`; sleeps without waking while nothing happens."""
        recorder = self._recorder
        try:
            while not self._stopped:
                offer_metrics(recorder)
                if self._drain():
                    self._gather()
                    continue
                fragments.sweep()
                history.texts.clear()
                pause_s = self._idle()
                recorder.asleep = True
                if not (self._stopped or self._asked > self._answered or any(recorder.queues())):
                    recorder.wake.wait(pause_s)
                recorder.asleep = False
                recorder.wake.clear()
                if any(recorder.queues()):
                    self._gather()
            self._drain()
        finally:
            with self._progress:
                self._stopped = True
                self._progress.notify_all()
            self._guarded("stopping the delivery", self._outlet.stop)

    def drain_here(self) -> None:
        """Write what waits on the calling thread: at the end of a process, when no thread can be started any more."""
        self._drain()

    def _gather(self) -> None:
        """Wait for more, unless somebody waits for what there is."""
        recorder = self._recorder
        if not (self._stopped or recorder.hurry):
            recorder.wake.wait(self._interval_s)
        recorder.wake.clear()

    def _drain(self) -> bool:
        """Take and hand over everything that waits; True when there was anything."""
        recorder = self._recorder
        with self._progress:
            asked, ending = self._asked, self._ending
        for sweep in recorder.sweeps:
            self._guarded("ending what nobody will end", sweep)
        goal = self._popped + sum(map(len, recorder.queues()))
        before = self._handled
        while self._drain_batch():
            if self._handled >= goal and self._asked > self._answered:  # more comes all the time, but somebody waits
                break
        if ending:
            self._guarded("ending what is open", self._outlet.ending)
        with self._progress:
            self._ending = self._ending and not ending
            self._answered = asked
            self._progress.notify_all()
        return self._handled > before

    def _drain_batch(self) -> bool:
        recorder = self._recorder
        with self._counted:
            finished, openings, scores = (_popped(queue, BATCH) for queue in recorder.queues())
            count = len(finished) + len(openings) + len(scores)
            kept = [found for found in finished if self._wanted(found)]
            self._taken += len(kept)
            self._popped += count
        if not count:
            return False
        self._pace.behind(len(recorder.queue), hurried=recorder.hurry > 0)
        done = False
        try:
            self._outlet.take(
                Paced(kept, self._pace),
                [found for found in openings if self._wanted(found) and _to_be_known(found)],
                [found for found in scores if self._sampled(found.trace)],
            )
            done = True
        except Exception as error:
            report("writing observations", error)
            if faults.strict:
                raise
        finally:
            with self._counted:
                self._lost += 0 if done else len(kept)
            with self._progress:
                self._handled += count
                self._progress.notify_all()
        return True

    def _wanted(self, found: Any) -> bool:
        """Return whether it is to be recorded: it is in a sampled trace, and not a parent process's to record."""
        if self._bound is None and not self._recorder.born_ns:
            return True
        if isinstance(found, Observation):
            trace, started_ns = found.trace, found.started_ns
        else:
            trace, started_ns = found.get_span_context().trace_id, found.start_time or 0
        if started_ns < self._recorder.born_ns and os.getppid() == self._recorder.parent_pid:
            return False
        return self._sampled(trace)

    def _sampled(self, trace: int) -> bool:
        return self._bound is None or trace & _HALF < self._bound

    def _idle(self) -> float | None:
        pause_s: float | None = self._guarded("tidying up", self._outlet.idle)
        return pause_s

    def _guarded(self, doing: str, work: Any) -> Any:
        try:
            return work()
        except Exception as error:
            report(doing, error)
            if faults.strict:
                raise
        return None

    # -- any thread

    def flush(self, deadline: float, written_by: float | None = None, ending: bool = False) -> None:
        """Wait until everything noted before this call is taken and delivered, or *deadline* has come.

        Args:
            written_by: until when to wait for it to be taken, if not until *deadline*.
            ending: the process ends: what is open is ended too, and nothing is waited for in vain.
        """
        recorder = self._recorder
        with self._progress:
            self._ending = self._ending or ending
            self._asked += 1
            mine = self._asked
            recorder.hurry += 1
            recorder.wake.set()
            try:
                while self._answered < mine and not self._stopped:
                    left_s = (written_by or deadline) - time.monotonic()
                    if left_s <= 0:
                        break
                    self._progress.wait(left_s)
            finally:
                recorder.hurry -= 1
        (self._outlet.finish if ending else self._outlet.flush)(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of everything noted, what waits in the queue included."""
        with self._counted:
            delivered, _, lost = self._outlet.outcome()
            taken = self._taken + len(self._recorder.queue)
            lost += self._lost
            pending = taken - delivered - lost - self._outlet.handed_over()
            return delivered, max(pending, 0), lost

    def handed_over(self) -> int:
        """Return how many were given to an exporter that is not ours."""
        return self._outlet.handed_over()

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        return {**self._outlet.reasons(), **({"failed to be written": self._lost} if self._lost else {})}

    def stop(self) -> None:
        """End the loop after one more round."""
        self._stopped = True
        self._recorder.wake.set()

    def forked(self) -> None:
        """Let go, in a forked child."""
        self._outlet.forked()


def _to_be_known(found: Any) -> bool:
    """Return whether what has begun is to be known now, should the process die before its end.

    Of others' spans only what nothing of this process is above, and agents: which they are is told after their start.
    """
    if isinstance(found, Observation):
        return not found.ended_ns
    if found.end_time:
        return False
    if found.parent is None or found.parent.is_remote:
        return True
    told: Mapping[str, Any] = found.attributes or {}
    return bool(told.get(IS_APP_ROOT)) or told.get(TYPE) == "agent"


def _popped(queue: Any, most: int) -> list[Any]:
    found: list[Any] = []
    try:
        while len(found) < most:
            found.append(queue.popleft())
    except IndexError:
        pass
    return found

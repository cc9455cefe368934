"""The queue between the application's threads and the worker: recording is one append, and never waits.

More than 300 lines: the queue and the ends of a process share its state.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..internals import forks, garbage
from ..internals.event_loops import in_event_loop
from ..internals.faults import shielded, warn_once
from ..internals.setting_values import LONGEST_WAIT_S
from ..internals.wake import Wake
from . import process_end
from .observation import Observation
from .score import Score

QUEUE_LIMIT = 100_000
"""Records that may wait for the worker. From half of it on, payloads give way first; at the limit, records do."""
PRESSURE = 10_000
"""Waiting records from which on whoever records more has to sleep now and then, so that the worker can keep up: that is
recording at more than 20,000 a second, for long enough that memory would fill up otherwise."""
EVERY = 16
YIELD_S = 0.00032
"""The sleep of every sixteenth record; the longer, the more are waiting. A sleep for each would cost more in changes
from thread to thread than what the worker does meanwhile."""
WRITE_S = 10.0
"""Additional seconds that the end of a process waits for the journal: only rows that are not in it are lost."""
IN_FLIGHT_S = 1.5
"""What a process that is told to end waits for its worker, which waits up to a second for the answer to a request."""
LAST_TRY_S = 3.0
"""What the end of a process waits for rows that are in memory only, since the journal fails."""
READY_S = 1.0
"""What the first observation of a process may wait, outside of event loops, until the worker has loaded what it needs:
what ends from then on is in the journal at once, should the process be killed."""
OPENINGS_LIMIT = 10_000
PAYLOAD_MARKER = "[dropped: too much was waiting to be written]"

_STARTING = shielded("starting the delivery worker")
_RELIEVING = shielded("making room in the queue")


class FlushResult(NamedTuple):
    """Counts of all observations that this process has recorded so far.

    The three add up to it, except for what went through a customised Langfuse client: `stats.handed_over` counts that.

    Attributes:
        delivered: acknowledged by Langfuse; in mode `local`, written to the journal.
        pending: still on its way, or waiting in the journal for Langfuse to come back.
        lost: will never arrive.
    """

    delivered: int
    pending: int
    lost: int


class RecordingWorker(Protocol):
    """Takes a recorder's queue on a thread of its own; see export/worker.py."""

    def run(self) -> None:
        """Work until `stop`."""
        ...

    def drain_here(self) -> None:
        """Take the queue, on the calling thread."""
        ...

    def flush(self, deadline: float, written_by: float | None = None, ending: bool = False) -> None:
        """Deliver what was noted before, until *deadline* at most."""
        ...

    def write(self, deadline: float) -> None:
        """Write what was noted before, until *deadline* at most."""
        ...

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost)."""
        ...

    def handed_over(self) -> int:
        """Return how many were given to an exporter that is not ours."""
        ...

    def fails(self) -> bool:
        """Return whether the last attempt to deliver to Langfuse failed."""
        ...

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        ...

    def destinations(self) -> Sequence[Any]:
        """Return the counts of each destination beside Langfuse."""
        ...

    def stop(self) -> None:
        """End `run` after one more round."""
        ...

    def unwritten(self) -> int:
        """Return how many only the memory of this process has."""
        ...

    def say_lost(self) -> None:
        """Warn of what is lost because the process ends now."""
        ...

    def forked(self) -> None:
        """Let go of what belongs to the parent process."""
        ...


WorkerFactory = Callable[["QueueRecorder"], RecordingWorker]


class QueueRecorder:
    """Notes what starts and ends, for a worker thread that is started with the first of them.

    Args:
        worker: makes the worker, on its own thread: nothing heavy is loaded on the application's.
    """

    def __init__(self, worker: WorkerFactory, limit: int = QUEUE_LIMIT) -> None:
        self._make_worker = worker
        self.limit = limit
        self._half = limit >> 1
        self._full = min(self._half, PRESSURE)
        self.enabled = True
        self.replayable = True
        """Whether rows get the exact form of answers, so that adapters note what it is made of; True until the first
        worker has read the settings."""
        self.exit_timeout_s = 2.0
        self.born_ns = self.parent_pid = self._born_clock_ns = 0
        self._pid = os.getpid()
        self._exited = False
        self._exiting = forks.Lock(reentrant=False)
        self.sweeps: tuple[Callable[[], None], ...] = ()
        """Called on the worker's thread before each round: adapters end there what nobody will end."""
        self._begin()
        forks.register(self)
        process_end.recorders.add(self)

    def _begin(self) -> None:
        self._starting = forks.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self.worker: RecordingWorker | None = None
        self.queue: deque[Any] = deque()
        self.openings: deque[Any] = deque(maxlen=OPENINGS_LIMIT)
        self.scores: deque[Score] = deque(maxlen=QUEUE_LIMIT)
        self.companions: deque[Any] = deque(maxlen=OPENINGS_LIMIT)
        self.has_destinations = False  # until the worker has read the settings; `worker` is None so long
        self.wake = Wake()
        self.prepared = self._writes_here = False
        self.asleep = False
        self.hurry = 0
        self.dropped = 0

    # -- the hot path

    def opened(self, observation: Any) -> None:
        """Note that a root or agent run, or a span of others, began: should the process die in it, it is known."""
        if self.enabled:
            self.openings.append(observation)
            if self.asleep or self._thread is None:
                self.start()

    def record(self, observation: Any) -> None:
        """Take in an observation (or an OpenTelemetry span of somebody else's) that has ended."""
        if not self.enabled:
            return
        queue = self.queue
        if len(queue) >= self._full and not self._relieve():
            return
        queue.append(observation)
        if self.asleep or self._thread is None:
            self.start()

    def accompany(self, span: Any) -> None:
        """Take in a span of another library that has ended, and that Langfuse does not take: for other destinations."""
        if self.enabled:
            self.companions.append(span)
            if self.asleep or self._thread is None:
                self.start()

    def score(self, score: Score) -> None:
        """Take in a score."""
        if self.enabled:
            self.scores.append(score)
            self.start()

    def prepare(self) -> None:
        """Have the worker load what it needs, before the first observation of this process starts."""
        self.prepared = True
        with _STARTING:
            if self.enabled and self._thread is None:
                self.start()
                if not (self._exited or in_event_loop()):
                    self._ready.wait(READY_S)

    def start(self) -> None:
        """Start the worker thread, or wake it."""
        if self._thread is None:
            with _STARTING, self._starting:
                self._start()
        else:
            self.asleep = False  # the next one need not wake it again
            self.wake.set()

    def _start(self) -> None:
        if not forks.threads_may_start():  # the next record does
            return
        if not threading.main_thread().is_alive():  # exit handlers run: what they register now is not run any more
            self._exited = True
        garbage.watch()
        if not self._exited:
            thread = threading.Thread(target=self._work, name="langfuse-integration", daemon=True)
            if self._thread is not None:  # another thread has started it, or a finalizer just now
                return
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as error:
                self._thread = None
                if sys.is_finalizing() or "shutdown" in str(error):
                    self._exited = True
                else:  # a container's limit of threads, say: the next record tries again
                    warn_once(
                        "thread",
                        "rows are written on the application's own threads for now (%s): raise the limit of threads "
                        "(`ulimit -u`, a container's pids limit)",
                        error,
                    )
            else:
                process_end.watch()
                return
        if self._thread is None:
            self._write_here()

    def _relieve(self) -> bool:
        """Make room: let the worker run, then drop old payloads; False when the new record is dropped, too."""
        waiting = len(self.queue)
        if waiting < self._half:
            if not waiting % EVERY:
                time.sleep(YIELD_S * waiting / self._full)
            return True
        if waiting >= self.limit:
            with self._starting:
                self.dropped += 1
            warn_once(
                "queue",
                "%d observations wait to be written: new ones are dropped, and counted as lost. Record less, sample "
                "(LANGFUSE_SAMPLE_RATE), or give the process a faster disk and more CPU",
                self.limit,
            )
            return False
        self.wake.set()
        with _RELIEVING:
            oldest = self.queue[len(self.queue) - self._half]
            warn_once(
                "payloads",
                "%d observations wait to be written: the oldest are recorded without their inputs and outputs. Record "
                "less, sample (LANGFUSE_SAMPLE_RATE), or give the process a faster disk and more CPU",
                waiting,
            )
            if isinstance(oldest, Observation):
                oldest.input = oldest.output = PAYLOAD_MARKER
        return True

    # -- the worker's thread

    def queues(self) -> tuple[deque[Any], ...]:
        """Return the queued records: ended observations, opened ones, scores, and spans for other destinations."""
        return self.queue, self.openings, self.scores, self.companions

    def is_of_parent(self, started_ns: int) -> bool:
        """Return whether what started at *started_ns* was started by the living process that forked this one."""
        if started_ns >= self.born_ns or os.getppid() != self.parent_pid:
            return False
        # A clock that was set back since then counts from an earlier birth.
        return started_ns < time.time_ns() - (time.monotonic_ns() - self._born_clock_ns)

    def _work(self) -> None:
        ready = self._ready
        try:
            with _STARTING:
                worker = self.worker or self._make_worker(self)
                if self._ready is ready:  # it was not closed meanwhile
                    self.worker = worker
                ready.set()
                worker.run()
        finally:
            ready.set()
            if self._thread is threading.current_thread():  # a fault of ours: the next record starts another
                self._thread = None

    def _write_here(self) -> None:
        if self._writes_here:  # what a finalizer records meanwhile is taken next
            return
        self._writes_here = True
        try:
            if self.worker is None:
                self.worker = self._make_worker(self)
            self.worker.drain_here()
        finally:
            self._writes_here = False

    # -- flush and the ends of a process

    def flush(self, timeout_s: float) -> FlushResult:
        """Deliver what there is within *timeout_s* seconds, and say how far it came. Never raises or waits longer."""
        self._flush(time.monotonic() + min(timeout_s, LONGEST_WAIT_S), ending=False)
        return self.result()

    def flush_while_it_helps(self, timeout_s: float, patience_s: float) -> FlushResult:
        """Flush, but wait for *patience_s* seconds only where nothing is delivered because Langfuse does not answer."""
        until = time.monotonic() + min(timeout_s, LONGEST_WAIT_S)
        delivered = self.result().delivered
        while True:
            deadline = min(time.monotonic() + patience_s, until)
            self._flush(deadline, ending=False)
            now = self.result()
            stands_still = now.delivered == delivered and self.worker is not None and self.worker.fails()
            # a flush that ends before its time has done what it can
            if stands_still or time.monotonic() < deadline or deadline == until:
                return now
            delivered = now.delivered

    def write(self, timeout_s: float) -> None:
        """Wait until what was recorded is in the journal, for *timeout_s* seconds at most."""
        is_busy = any(self.queues()) or self.hurry or (self._thread is not None and not self.asleep)
        if is_busy and not self._may_not_wait():
            self.start()
            deadline = time.monotonic() + timeout_s
            self._ready.wait(timeout_s)
            if self.worker is not None:
                self.worker.write(deadline)

    def _flush(self, deadline: float, *, ending: bool) -> None:
        if (self._thread is None and not any(self.queues())) or self._may_not_wait():
            return
        self.start()
        written_by = deadline + (WRITE_S if ending else 0.0)
        self._ready.wait(max(written_by - time.monotonic(), 0))
        if self.worker is not None:
            self.worker.flush(deadline, written_by, ending)

    def _may_not_wait(self) -> bool:
        """Return whether a finalizer calls that must not wait: on the worker's own thread, or in a fork."""
        return self._thread is threading.current_thread() or not forks.threads_may_start()

    def result(self) -> FlushResult:
        """Return the counts as they are now."""
        if not self.enabled:
            return FlushResult(0, 0, 0)
        worker = self.worker
        delivered, pending, lost = worker.outcome() if worker is not None else (0, len(self.queue), 0)
        return FlushResult(delivered, pending, lost + self.dropped)

    def divert(self, worker: WorkerFactory, timeout_s: float = 5.0) -> WorkerFactory:
        """Replace the worker factory and return the previous one, whose worker has *timeout_s* for what is recorded."""
        self.close(timeout_s)
        before, self._make_worker = self._make_worker, worker
        self.enabled = self.replayable = True
        return before

    def close(self, timeout_s: float, *, ending: bool = False, grace_s: float = 0.1) -> None:
        """Flush, stop the worker and release what it holds; recording goes on with a new worker if needed.

        Args:
            timeout_s: for all of it; a worker that hangs is left to itself.
            ending: the process ends: what is still open is ended.
            grace_s: the least time that a request in flight has for its answer.
        """
        deadline = time.monotonic() + timeout_s
        self._flush(deadline, ending=ending)
        worker, thread = self.worker, self._thread
        with self._starting:
            # Both are made before the worker is let go: a finalizer may start the next one at once.
            ready, wake = threading.Event(), Wake()
            self.worker = self._thread = None
            self._ready, self.wake = ready, wake
        if worker is not None:
            worker.stop()
            if thread is not None and thread is not threading.current_thread():
                if ending and worker.unwritten():
                    grace_s = max(grace_s, LAST_TRY_S)
                thread.join(max(deadline - time.monotonic(), grace_s))
            if ending:
                worker.say_lost()

    def has_work(self) -> bool:
        """Return whether anything may be lost if the process ends now."""
        return self._exiting.locked() or (not self._exited and (self._thread is not None or any(self.queues())))

    def exit(self, *, deliver: bool = True) -> None:
        """Deliver at the end of the process, within `exit_timeout_s`; what is recorded later is written at once.

        What is noted is written into the journal even if that takes longer, on a machine that is slow to load modules.
        Where another thread is about to do it, it is waited for.

        Args:
            deliver: False writes the journal, and leaves the delivery to the next process; it waits only for the answer
                to a request in flight, whose rows would be sent twice.
        """
        if not self._exiting.acquire(timeout=self.exit_timeout_s + WRITE_S):
            return
        try:
            began = time.monotonic()
            if self._thread is not None:
                self._ready.wait(WRITE_S)  # what the settings say is known by then
            if deliver:
                self.close(max(began + self.exit_timeout_s - time.monotonic(), 0), ending=True)
            else:
                self.close(0.0, ending=True, grace_s=IN_FLIGHT_S)
        finally:
            self._exited = True
            self._exiting.release()

    def before_fork(self, deadline: float) -> None:
        """Let the worker's thread finish its imports, until *deadline* at most."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._ready.wait(max(deadline - time.monotonic(), 0.0))

    def after_fork_in_parent(self) -> None:
        """Start the worker for what a finalizer may have recorded meanwhile; nothing else was paused."""
        if self._thread is None and any(self.queues()):
            self.start()

    def after_fork_in_child(self) -> None:
        """Start with an empty queue: its records belong to the parent, which delivers them."""
        if self.worker is not None:
            self.worker.forked()
        # Not os.getppid(): a parent that forks to go into the background may have ended already.
        self.born_ns, self.parent_pid, self._pid = time.time_ns(), self._pid, os.getpid()
        self._born_clock_ns = time.monotonic_ns()
        self._begin()

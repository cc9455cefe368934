"""The hand-over from the application's threads to the worker: one append, and no waiting."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .observation import Observation, Score
from .shield import shielded, warn_once

if TYPE_CHECKING:
    from .delivery.worker import Worker

QUEUE_LIMIT = 100_000
"""Records that may wait for the worker. From half of it on, payloads give way first; at the limit, records do."""
OPENINGS_LIMIT = 10_000
PAYLOAD_MARKER = "[dropped: too much was waiting to be written]"

_STARTING = shielded("starting the delivery worker")
_RELIEVING = shielded("making room in the queue")
_recorders: weakref.WeakSet[QueueRecorder] = weakref.WeakSet()


class FlushResult(NamedTuple):
    """What became of everything that this process has recorded so far; the three add up to it.

    Attributes:
        delivered: acknowledged by Langfuse; in mode `local`, written to the journal.
        pending: still on its way, or waiting in the journal for Langfuse to come back.
        lost: will never arrive.
    """

    delivered: int
    pending: int
    lost: int


class QueueRecorder:
    """Notes what starts and ends, for a worker thread that is started with the first of them.

    Args:
        worker: makes the worker, on its own thread: nothing heavy is loaded on the application's.
    """

    def __init__(self, worker: Callable[[QueueRecorder], Worker], limit: int = QUEUE_LIMIT) -> None:
        self._make_worker = worker
        self._limit = limit
        self._half = limit >> 1
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.queue: deque[Any] = deque()
        self.openings: deque[Observation] = deque(maxlen=OPENINGS_LIMIT)
        self.scores: deque[Score] = deque(maxlen=QUEUE_LIMIT)
        self.wake = threading.Event()
        self.asleep = False
        self.enabled = True
        self.dropped = 0
        self.sweeps: tuple[Callable[[], None], ...] = ()
        """Called on the worker's thread before each round: adapters end there what nobody will end."""
        self.worker: Worker | None = None
        _recorders.add(self)

    # -- the hot path

    def opened(self, observation: Observation) -> None:
        """Note that a root has started, so that it is known should the process die before its end."""
        if self.enabled:
            self.openings.append(observation)
            if self.asleep or self._thread is None:
                self.start()

    def record(self, observation: Any) -> None:
        """Take in an observation (or an OpenTelemetry span of somebody else's) that has ended."""
        if not self.enabled:
            return
        queue = self.queue
        if len(queue) >= self._half and not self._relieve():
            return
        queue.append(observation)
        if self.asleep or self._thread is None:
            self.start()

    def score(self, score: Score) -> None:
        """Take in a score."""
        if self.enabled:
            self.scores.append(score)
            self.start()

    def start(self) -> None:
        """Start the worker thread, or wake it."""
        if self._thread is not None:
            self.asleep = False  # the next one need not wake it again
            self.wake.set()
            return
        with _STARTING, self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="langfuse-integration", daemon=True)
                self._thread.start()

    def _relieve(self) -> bool:
        """Make room: the oldest payloads go first; False when the new record has to go too."""
        if len(self.queue) >= self._limit:
            with self._starting:
                self.dropped += 1
            warn_once("queue", "%d observations wait for the worker: new ones are dropped, and counted", self._limit)
            return False
        self.wake.set()
        with _RELIEVING:
            oldest = self.queue[len(self.queue) - self._half]
            if isinstance(oldest, Observation):
                oldest.input = oldest.output = PAYLOAD_MARKER
        return True

    # -- the worker's thread

    def _work(self) -> None:
        worker = self._ready()
        if worker is not None:
            worker.run()

    def _ready(self) -> Worker | None:
        if self.worker is None:
            with _STARTING:
                self.worker = self._make_worker(self)
        return self.worker

    # -- flush and the ends of a process

    def flush(self, timeout_s: float) -> FlushResult:
        """Deliver what there is within *timeout_s* seconds, and say how far it came. Never raises, never waits longer."""
        deadline = time.monotonic() + timeout_s
        if self._thread is None and not self.queue:
            return self.result()
        self.start()
        while self.worker is None and time.monotonic() < deadline:
            time.sleep(0.002)
        if self.worker is not None:
            self.worker.flush(deadline)
        return self.result()

    def result(self) -> FlushResult:
        """Return the counts as they are now."""
        delivered, pending, lost = self.worker.outcome() if self.worker is not None else (0, 0, 0)
        return FlushResult(delivered, pending + len(self.queue), lost + self.dropped)

    def divert(self, worker: Callable[[QueueRecorder], Worker]) -> Callable[[QueueRecorder], Worker]:
        """Let another worker take over from here on; return how the one of before was made."""
        self.close(5.0)
        before, self._make_worker = self._make_worker, worker
        self.enabled = True
        return before

    def close(self, timeout_s: float) -> None:
        """Flush, stop the worker and release what it holds; recording goes on with a new worker if needed."""
        self.flush(timeout_s)
        worker, thread = self.worker, self._thread
        self.worker = self._thread = None
        if worker is not None:
            worker.stop()
            self.wake.set()
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(timeout_s, 1.0))

    def forked(self) -> None:
        """Begin anew in a forked child: what waits belongs to the parent, which goes on with it."""
        self.queue = deque()
        self.openings = deque(maxlen=OPENINGS_LIMIT)
        self.scores = deque(maxlen=QUEUE_LIMIT)
        self.wake = threading.Event()
        self._starting = threading.Lock()
        self._thread = None
        self.asleep = False
        self.dropped = 0
        if self.worker is not None:
            self.worker.forked()
        self.worker = None


def _forked() -> None:
    for recorder in list(_recorders):
        recorder.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

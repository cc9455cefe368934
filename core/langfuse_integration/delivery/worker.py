"""The worker: takes what was noted off the queue in batches, and hands it to an outlet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..observation import Observation, Score
from ..payload import fragments
from ..shield import shielded

if TYPE_CHECKING:
    from ..recorder import QueueRecorder

BATCH = 256
IDLE_S = 2.0
_WORKING = shielded("writing observations")
_SWEEPING = shielded("ending what nobody will end")


class Outlet(Protocol):
    """Where finished observations go. Called on the worker's thread only, `outcome` and `flush` excepted."""

    def take(self, finished: Sequence[Any], opened: Sequence[Observation], scores: Sequence[Score]) -> None:
        """Take a batch: finished observations and spans of others, roots that are still open, scores."""
        ...

    def flush(self, deadline: float) -> None:
        """Deliver until *deadline* (on time.monotonic's clock) at most."""
        ...

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of what was taken so far."""
        ...

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        ...

    def stop(self) -> None:
        """Release everything; what is pending stays where it is."""
        ...

    def forked(self) -> None:
        """Let go of what belongs to the parent process."""
        ...


class Worker:
    """One thread's loop between a recorder and an outlet."""

    def __init__(self, recorder: QueueRecorder, outlet: Outlet, interval_s: float = 0.05) -> None:
        self._recorder = recorder
        self._outlet = outlet
        self._interval_s = interval_s
        self._stopped = False
        self._rounds = 0

    @classmethod
    def from_settings(cls, recorder: QueueRecorder) -> Worker:
        """Return the worker that the settings ask for."""
        from ..settings import settings
        from .route import outlet

        found = settings()
        if found.mode == "off":
            recorder.enabled = False
        return cls(recorder, outlet(found), found.write_interval_s)

    def run(self) -> None:
        """Work until `stop`; sleeps without waking while nothing happens."""
        recorder = self._recorder
        while not self._stopped:
            busy = self._drain()
            if busy:
                recorder.wake.wait(self._interval_s)
                recorder.wake.clear()
                continue
            fragments.sweep()
            recorder.asleep = True
            if not (recorder.queue or recorder.openings or recorder.scores):
                recorder.wake.wait()
            recorder.asleep = False
            recorder.wake.clear()
        self._drain()

    def flush(self, deadline: float) -> None:
        """Wait until everything noted before this call is taken and delivered, or *deadline* has come."""
        wanted = self._rounds + 2  # one round may be under way already
        while (self._recorder.queue or self._rounds < wanted) and time.monotonic() < deadline and not self._stopped:
            self._recorder.wake.set()
            time.sleep(0.001)
        self._outlet.flush(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of what was taken off the queue."""
        return self._outlet.outcome()

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        return self._outlet.reasons()

    def stop(self) -> None:
        """End the loop after one more round."""
        self._stopped = True

    def forked(self) -> None:
        """Let go, in a forked child."""
        self._outlet.forked()

    def _drain(self) -> bool:
        recorder = self._recorder
        busy = False
        for sweep in recorder.sweeps:
            with _SWEEPING:
                sweep()
        while True:
            finished = _popped(recorder.queue, BATCH)
            opened = [found for found in _popped(recorder.openings, BATCH) if not found.ended_ns]
            scores = _popped(recorder.scores, BATCH)
            if not (finished or opened or scores):
                break
            busy = True
            with _WORKING:
                self._outlet.take(finished, opened, scores)
        self._rounds += 1
        return busy


def _popped(queue: Any, most: int) -> list[Any]:
    found = []
    try:
        while len(found) < most:
            found.append(queue.popleft())
    except IndexError:
        pass
    return found

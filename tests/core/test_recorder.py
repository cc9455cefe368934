"""The queue before the worker: bounded, whatever hangs behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from langfuse_integration.observation import Observation
from langfuse_integration.recorder import EVERY, PAYLOAD_MARKER, PRESSURE, YIELD_S, QueueRecorder


class Stuck:
    """A worker that takes nothing."""

    def __init__(self, recorder: Any) -> None:
        self._stopped = threading.Event()

    def run(self) -> None:
        """Wait for `stop`."""
        self._stopped.wait()

    def flush(self, *how: Any) -> None:
        """Do nothing."""

    def outcome(self) -> tuple[int, int, int]:
        """Tell of nothing."""
        return 0, 0, 0

    def stop(self) -> None:
        """End."""
        self._stopped.set()


@pytest.fixture
def stuck() -> Iterator[list[QueueRecorder]]:
    """Recorders that a test makes, closed at its end."""
    made: list[QueueRecorder] = []
    yield made
    for recorder in made:
        recorder.close(1.0)


def recorded(recorder: QueueRecorder, count: int) -> list[Observation]:
    """So many observations that have ended."""
    made = [Observation(f"step {number}", "span", recorder, None, None, input=number) for number in range(count)]
    for observation in made:
        observation.finish(f"done {observation.name}")
    return made


def test_payloads_give_way_first_and_records_only_at_the_limit(
    stuck: list[QueueRecorder], caplog: pytest.LogCaptureFixture
) -> None:
    """Of 150 for a queue of 100, 100 are kept, the newest 50 of them with what was said, and 50 are counted as lost."""
    recorder = QueueRecorder(Stuck, limit=100)  # type: ignore[arg-type]
    stuck.append(recorder)
    made = recorded(recorder, 150)

    assert list(recorder.queue) == made[:100]
    assert [found.input for found in made[:50]] == [PAYLOAD_MARKER] * 50
    assert [found.output for found in made[:50]] == [PAYLOAD_MARKER] * 50
    assert [found.input for found in made[50:100]] == list(range(50, 100))
    assert recorder.dropped == 50
    assert recorder.result().lost == 50
    assert [found.getMessage() for found in caplog.records] == [
        "100 observations wait for the worker: new ones are dropped, and counted"
    ]


def test_who_records_faster_than_the_worker_writes_has_to_wait(stuck: list[QueueRecorder]) -> None:
    """Beyond the pressure, every sixteenth record sleeps; up to there, none does, and nothing is lost."""
    recorder = QueueRecorder(Stuck)  # type: ignore[arg-type]
    stuck.append(recorder)
    recorded(recorder, PRESSURE)
    beyond = 100 * EVERY
    began = time.monotonic()
    made = recorded(recorder, beyond)

    assert time.monotonic() - began >= beyond / EVERY * YIELD_S
    assert [found.input for found in made] == list(range(beyond))
    assert len(recorder.queue) == PRESSURE + beyond
    assert recorder.dropped == 0

"""The queue before the worker: bounded, whatever hangs behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from benchmarks.counting import Idle

from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.recorder import EVERY, PAYLOAD_MARKER, PRESSURE, YIELD_S, QueueRecorder


@pytest.fixture
def stuck() -> Iterator[list[QueueRecorder]]:
    """Recorders that a test makes, closed at its end."""
    made: list[QueueRecorder] = []
    yield made
    for recorder in made:
        recorder.close(1.0)


def recorded(recorder: QueueRecorder, count: int) -> list[Observation]:
    """So many observations that have ended."""
    made = [Observation(f"step {number}", "span", recorder, None, input=number) for number in range(count)]
    for observation in made:
        observation.finish(f"done {observation.name}")
    return made


def test_payloads_give_way_first_and_records_only_at_the_limit(
    stuck: list[QueueRecorder], caplog: pytest.LogCaptureFixture
) -> None:
    """A queue of 100 keeps 100 of 150 records, 50 of them with their payload, and counts 50 as lost."""
    recorder = QueueRecorder(Idle, limit=100)  # type: ignore[arg-type]
    stuck.append(recorder)
    made = recorded(recorder, 150)

    assert list(recorder.queue) == made[:100]
    assert [found.input for found in made[:50]] == [PAYLOAD_MARKER] * 50
    assert [found.output for found in made[:50]] == [PAYLOAD_MARKER] * 50
    assert [found.input for found in made[50:100]] == list(range(50, 100))
    assert recorder.dropped == 50
    assert recorder.result().lost == 50
    [without_payloads, dropped] = [found.getMessage() for found in caplog.records]
    assert without_payloads.startswith(
        "50 observations wait to be written: the oldest are recorded without their inputs"
    )
    assert dropped.startswith("100 observations wait to be written: new ones are dropped, and counted as lost.")


def test_who_records_faster_than_the_worker_writes_has_to_wait(
    stuck: list[QueueRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the pressure nobody sleeps; beyond, every sixteenth record does, the longer the more wait; none is lost."""
    recorder = QueueRecorder(Idle)  # type: ignore[arg-type]
    stuck.append(recorder)
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    recorded(recorder, PRESSURE)
    assert naps == []
    beyond = 100 * EVERY
    made = recorded(recorder, beyond)

    assert len(naps) == beyond // EVERY
    assert naps[0] == YIELD_S
    assert naps == sorted(set(naps))
    assert [found.input for found in made] == list(range(beyond))
    assert len(recorder.queue) == PRESSURE + beyond
    assert recorder.dropped == 0

"""How long the worker gathers rows before it writes the next ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from langfuse_integration.export.outlet import Outlet
from langfuse_integration.export.worker import BUSY_INTERVAL_S, Worker
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.recorder import QueueRecorder
from langfuse_integration.recording.score import Score
from peers.waiting import until


class SlowOutlet(Outlet):
    """Takes long for each batch, as where other processes hold the journal."""

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Take some time."""
        time.sleep(0.15)


class Waits(threading.Event):
    """An event that notes how long it is to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time."""
        self.asked_s.append(timeout)
        return super().wait(timeout)


def test_rows_are_soon_written_where_writing_takes_long() -> None:
    """A worker that has waited for the journal gathers the next rows no longer than on a slow disk."""
    recorder = QueueRecorder(lambda recorder: Worker(recorder, SlowOutlet(), 0.01))
    recorder.wake = waits = Waits()
    recorder.record(Observation("row", "span", recorder, None, (None, None)))
    recorder.start()
    until(lambda: BUSY_INTERVAL_S in waits.asked_s)
    recorder.close(30)
    assert all(asked_s is None or asked_s <= BUSY_INTERVAL_S for asked_s in waits.asked_s)

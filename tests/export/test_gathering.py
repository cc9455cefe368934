"""How long the worker gathers rows before it writes the next ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from langfuse_integration.export.outlet import Outlet
from langfuse_integration.export.worker import BUSY_INTERVAL_S, SHARED_INTERVAL_S, Worker
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.recorder import QueueRecorder
from langfuse_integration.recording.score import Score
from peers.waiting import until


class SlowOutlet(Outlet):
    """Takes long for each batch, by itself or because other processes hold the journal."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._waited_s = 0.0

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Take some time."""
        time.sleep(0.15)
        self._waited_s += 0.15 if self._shared else 0.0

    def waited_s(self) -> float:
        """Return what was spent on others."""
        return self._waited_s


class Waits(threading.Event):
    """An event that notes how long it is to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time."""
        self.asked_s.append(timeout)
        return super().wait(timeout)


@pytest.mark.parametrize(("shared", "longest_s"), [(False, BUSY_INTERVAL_S), (True, SHARED_INTERVAL_S)])
def test_only_other_processes_make_it_gather_for_long(shared: bool, longest_s: float) -> None:
    """On a machine where everything takes long, rows are soon written; on a shared journal each gets its turn."""
    recorder = QueueRecorder(lambda recorder: Worker(recorder, SlowOutlet(shared), 0.01))
    recorder.wake = waits = Waits()
    recorder.record(Observation("row", "span", recorder, None, (None, None)))
    recorder.start()
    until(lambda: longest_s in waits.asked_s)
    recorder.close(30)
    assert all(asked_s is None or asked_s <= longest_s for asked_s in waits.asked_s)

"""Waking a thread that sleeps."""

from __future__ import annotations

import threading
import time

from langfuse_integration.internals.wake import Wake


def test_a_flag_that_is_up_is_taken_down_by_who_waits() -> None:
    """However often it was put up, one wait finds it, and the next waits for its time."""
    wake = Wake()
    wake.set()
    wake.set()
    assert wake.wait(0.0)
    began = time.monotonic()
    assert not wake.wait(0.05)
    assert time.monotonic() - began >= 0.05
    wake.set()
    wake.clear()
    wake.clear()
    assert not wake.wait(0.0)
    assert not wake.wait(-1.0)


def test_another_thread_wakes_who_waits() -> None:
    """Without a limit, too."""
    wake = Wake()
    threading.Timer(0.05, wake.set).start()
    assert wake.wait()
    threading.Timer(0.05, wake.set).start()
    assert wake.wait(60)

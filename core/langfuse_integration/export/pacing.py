"""Pacing: how long the worker holds the interpreter lock at a time; longer only when the queue is long.

Python lets a computing thread hold the lock for 5 ms at a time (`sys.getswitchinterval`), while every other thread
stands still. So the worker releases it after each slice of work, for long enough that a waiting thread takes it: a step
of a busy application is delayed by one slice at most. Up to `CALM` waiting records a slice is `SLICE_S`; with more it
grows in proportion, and at half of the queue's limit the worker is not held back, since payloads would be lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

SLICE_S = 0.00015
PAUSE_S = 0.00005
"""The requested sleep; Linux adds 0.00005 s (the timer slack of a thread)."""
CALM = 12_000
HURRIED_S = 0.001
"""A slice while a flush waits; then an application thread is blocked anyway."""
SWITCH_S = 0.005


class Pace:
    """The worker's share of the interpreter lock.

    Args:
        limit: the number of waiting records from which on the worker is not held back.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slice_s = SLICE_S
        self._until = 0.0

    def behind(self, waiting: int, *, hurried: bool = False) -> None:
        """Set the pace by the number of waiting records, and by whether a flush waits."""
        if waiting <= CALM:
            self._slice_s = HURRIED_S if hurried else SLICE_S
        else:
            share = (waiting - CALM) / max(self._limit - CALM, 1)
            self._slice_s = SLICE_S + min(share, 1.0) * SWITCH_S

    def step(self) -> None:
        """Let other threads run if this slice is over; called after each piece of work."""
        now = time.perf_counter()
        if now >= self._until:
            time.sleep(PAUSE_S)
            self._until = time.perf_counter() + self._slice_s


class Paced(list[Any]):
    """A list whose reader is paced."""

    __slots__ = ("_pace",)

    def __init__(self, items: list[Any], pace: Pace) -> None:
        super().__init__(items)
        self._pace = pace

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            yield item
            self._pace.step()

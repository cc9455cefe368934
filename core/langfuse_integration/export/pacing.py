"""How much of the interpreter lock the worker takes: little at a time, and more only when it falls far behind.

Python gives a thread that computes the lock for 5 ms at a time (`sys.getswitchinterval`), in which every other thread
stands still. So the worker lets go after each slice of work, for long enough that a waiting thread wakes up and takes
it: a busy application's step is delayed by one slice at most. How long a slice is depends on what waits: up to
`CALM` records it is `SLICE_S`; beyond, it grows in proportion, until at the queue's half the worker is one thread
among equals, since then payloads would be lost otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

SLICE_S = 0.00015
PAUSE_S = 0.00005
"""What is asked for; Linux adds another 0.00005 s of its own (the timer slack of a thread)."""
CALM = 12_000
HURRIED_S = 0.001
"""A slice while a flush waits: that one thread of the application stands still anyway."""
SWITCH_S = 0.005


class Pace:
    """The worker's share of the interpreter lock.

    Args:
        frantic: the number of waiting records from which on nothing is held back.
    """

    def __init__(self, frantic: int) -> None:
        self._frantic = frantic
        self._slice_s = SLICE_S
        self._until = 0.0

    def behind(self, waiting: int, *, hurried: bool = False) -> None:
        """Set the pace by how many records wait, and whether somebody waits for them (a flush)."""
        if waiting <= CALM:
            self._slice_s = HURRIED_S if hurried else SLICE_S
        else:
            share = (waiting - CALM) / max(self._frantic - CALM, 1)
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

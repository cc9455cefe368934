"""The wall clock and the steady clock, read as one moment.

A row begins by the wall clock and lasts by the steady one. A thread that loses the processor between the two readings
would place its row too early, so that it would end before the rows below it begin. So the distance of the two is
compared with that of earlier readings, and both are read again where it has changed: also when the wall clock was set.
The hottest places do what `read` does without a call.
"""

from __future__ import annotations

import time

from .ids import new_chance

now = time.time_ns
steady = time.perf_counter_ns

TOLERANCE_NS = max(50_000, 2 * int(time.get_clock_info("time").resolution * 1e9))
"""How much the distance of two readings may differ: mostly it is below 1,000 ns; some clocks tick coarsely."""
_READINGS = 4

distance_ns = 0
"""How far the wall clock is ahead of the steady one."""


def read() -> tuple[int, int]:
    """Return what both clocks say now, in ns."""
    wall_ns = now()
    clock_ns = steady()
    if -TOLERANCE_NS < wall_ns - clock_ns - distance_ns < TOLERANCE_NS:
        return wall_ns, clock_ns
    return moment()


def moment() -> tuple[int, int]:
    """Read both clocks a few times, and return the reading that was disturbed least."""
    global distance_ns
    new_chance()  # a machine that was started from a snapshot: see ids.py
    distance, wall_ns, clock_ns = max(_reading() for _ in range(_READINGS))
    distance_ns = distance
    return wall_ns, clock_ns


def _reading() -> tuple[int, int, int]:
    wall_ns = now()
    clock_ns = steady()
    return wall_ns - clock_ns, wall_ns, clock_ns

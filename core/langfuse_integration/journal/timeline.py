"""The time by which rows are too old: never later than what passed in this process, whatever the clock is set to."""

from __future__ import annotations

import sys
import time

from ..internals.faults import warn_once

DAY_S = 86_400.0


def _clock_through_sleep() -> int | None:
    """Return the clock that also counts while the machine sleeps, or None where no clock is known to.

    On macOS that is CLOCK_MONOTONIC, while `time.monotonic` stands still there; on Linux it is the other way round.
    """
    return getattr(time, "CLOCK_MONOTONIC", None) if sys.platform == "darwin" else getattr(time, "CLOCK_BOOTTIME", None)


_CLOCK = _clock_through_sleep()


class Timeline:
    """Tells the time for the removal of old rows.

    A clock that is set 40 days ahead must not remove what waits for delivery. So the time is the clock's, or if that is
    earlier, the time at the start of this process and what has passed since then.

    Args:
        newest_ns: when the newest row in the journal ended; 0 without rows. A clock that is further ahead of it than
            *max_age_s*, and than a day, is not believed: this process starts at *newest_ns* then.
    """

    def __init__(self, newest_ns: int, max_age_s: float) -> None:
        now_s = time.time()
        self._passed_s = _elapsed_s()
        self._began_s = now_s
        gap_s = now_s - newest_ns / 1e9
        if newest_ns and gap_s > max(max_age_s, DAY_S):
            self._began_s = newest_ns / 1e9
            warn_once(
                "clock",
                "The newest row of the journal is %.0f days old by the clock of this machine: if nothing was recorded "
                "for so long, all is well; else correct the clock. This process removes no row for its age",
                gap_s / DAY_S,
            )

    def now_s(self) -> float:
        """Return the seconds since 1970."""
        now_s = time.time()
        expected_s = self._began_s + _elapsed_s() - self._passed_s
        # Without such a clock the difference may be the time in which the machine slept.
        if _CLOCK is not None and abs(now_s - expected_s) > DAY_S:
            warn_once(
                "clock",
                "The clock of this machine was set by %+.0f days while this process ran: rows from before and after "
                "have times that do not fit together, and none is removed for its age too early",
                (now_s - expected_s) / DAY_S,
            )
        return min(now_s, expected_s)


def _elapsed_s() -> float:
    """Return a number of seconds that grows by one each second, also while the machine sleeps where that is known."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()

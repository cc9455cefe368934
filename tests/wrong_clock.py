"""Processes whose clock is wrong, or is set while they run; wrong_clock.c is loaded into them."""

from __future__ import annotations

from pathlib import Path

from preloaded import preloaded

DAY_S = 86_400


class WrongClock:
    """A clock of processes.

    Args:
        folder: for the library and the error of the clock.
    """

    def __init__(self, folder: Path) -> None:
        self._error = folder / "clock"
        self.environment = {"WRONG_CLOCK": str(self._error), "LD_PRELOAD": preloaded("wrong_clock", folder)}

    def set_by(self, days: int) -> None:
        """Let the clock be wrong by so many days from now on."""
        self._error.write_text(str(days * DAY_S))

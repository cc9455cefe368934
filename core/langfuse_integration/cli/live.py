"""Observations as a log: a line each, as they end."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from ..reading.replay import Observed
from .row import brief, label
from .screen import Screen
from .text import clock, duration, fitted, in_one_line

SESSION_COLUMNS = 20
TIME_COLUMNS = 10
MARGIN_COLUMNS = 10


class Log:
    """Writes observations to a screen, for people or as JSON lines; says whose they are when that changes."""

    def __init__(self, screen: Screen, *, as_json: bool) -> None:
        self._screen = screen
        self._as_json = as_json
        self._whose: tuple[str | None, str | None] | None = None

    def write(self, found: Observed) -> None:
        """Write one observation."""
        if self._as_json:
            from .plain import observation_of
            from .text import to_json

            self._screen.raw(to_json(observation_of(found), indent=None) + "\n")
            return
        whose = found.session_id, found.user_id
        if whose != self._whose:
            self._whose = whose
            self._screen.line(_heading(found, self._screen.width))
        for line in _lines(found, self._screen.width):
            self._screen.line(line)


def _heading(found: Observed, width: int) -> Text:
    session = in_one_line(found.session_id) if found.session_id else "no session"
    user = f"  user {in_one_line(found.user_id)}" if found.user_id else ""
    return Text(fitted(session + user, width), "bold")


def _lines(found: Observed, width: int) -> list[Text]:
    time = duration(found.started_ns, found.ended_ns).rjust(TIME_COLUMNS)
    start = Text(clock(found.ended_ns) + "  ", "dim")
    name = label(found)
    room = width - cell_len(start.plain) - len(time)
    name.truncate(room, overflow="ellipsis")
    lines = [Text.assemble(start, name, " " * (room - cell_len(name.plain)), (time, "dim"))]
    for detail in brief(found):
        text = fitted(f"{detail.word.ljust(6)} {detail.text}", width - MARGIN_COLUMNS)
        lines.append(Text(" " * MARGIN_COLUMNS + text, detail.style or "dim"))
    return lines

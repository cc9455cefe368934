"""A live log of observations: one line each, as they end."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from ..presentation import agent_of, clock, duration
from ..reading.replay import Observed
from .row import brief, label
from .screen import Screen
from .text import fitted, in_one_line

SESSION_COLUMNS = 20
TIME_COLUMNS = 10
MARGIN_COLUMNS = 10


class Log:
    """Writes observations to a screen, for people or as JSON lines; names the session whenever it changes."""

    def __init__(self, screen: Screen, *, as_json: bool) -> None:
        self._screen = screen
        self._as_json = as_json
        self._whose: tuple[str | None, str | None] | None = None

    def write(self, observation: Observed) -> None:
        """Write one observation."""
        if self._as_json:
            from .plain import observation_of
            from .text import to_json

            self._screen.raw(to_json(observation_of(observation), indent=None) + "\n")
            return
        whose = observation.session_id, observation.user_id
        if whose != self._whose:
            self._whose = whose
            self._screen.line(_heading(observation, self._screen.width))
        for line in _lines(observation, self._screen.width):
            self._screen.line(line)
        self._screen.flush()


def _heading(observation: Observed, width: int) -> Text:
    session = in_one_line(observation.session_id) if observation.session_id else "no session"
    user = f"  user {in_one_line(observation.user_id)}" if observation.user_id else ""
    return Text(fitted(session + user, width), "bold")


def _lines(observation: Observed, width: int) -> list[Text]:
    time = duration(observation.ended_ns - observation.started_ns).rjust(TIME_COLUMNS)
    start = Text(clock(observation.ended_ns) + "  ", "dim")
    room = width - cell_len(start.plain) - len(time)
    name = label(observation, room, agent_of(observation) if observation.type != "agent" else "")
    lines = [Text.assemble(start, name, " " * (room - cell_len(name.plain)), (time, "dim"))]
    for detail in brief(observation):
        text = fitted(f"{detail.word.ljust(6)} {detail.text}", width - MARGIN_COLUMNS)
        lines.append(Text(" " * MARGIN_COLUMNS + text, detail.style or "dim"))
    return lines

"""A session as lines for the terminal: all of it, or the part that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from rich.text import Text

from ..presentation import agent_of
from ..reading.archive import Archive
from ..reading.replay import Observed, Trace
from ..reading.search import holds
from .screen import Screen
from .text import fitted, in_one_line, wrapped
from .tree import ASCII, Replay

LINES_LIMIT = 200
"""The most lines that a replay prints without `--full`."""
SLOWEST_SHOWN = 10
NEAREST_OF = 5_000
"""Steps among which the nearest is looked for."""
CUT = "Cut after 200 lines: --full shows all; --turn, --errors, --slowest, --agent and --grep a part."


@dataclass(frozen=True, slots=True)
class ReplayPart:
    """The part of a session that is shown, and its level of detail.

    Attributes:
        full: whole inputs, outputs and metadata, without a limit of lines.
        turn: only the turn of this number, from 1 on.
        step: only the step whose id begins like that.
        errors: only what went wrong.
        slowest: only the steps that took longest, without the time of the steps below them.
        agent: only the steps of this agent.
        grep: only the steps in which this text occurs.
    """

    full: bool = False
    turn: int | None = None
    step: str | None = None
    errors: bool = False
    slowest: bool = False
    agent: str | None = None
    grep: str | None = None

    @property
    def chooses_steps(self) -> bool:
        """Whether single steps are shown instead of the tree."""
        return bool(self.step or self.slowest or self.agent or self.grep)


def replayed(
    archive: Archive, session_id: str | None, screen: Screen, part: ReplayPart | None = None
) -> Iterator[Text]:
    """Yield a session, or a part of it, as lines for *screen*."""
    part = part or ReplayPart()
    lines = _lines(archive, session_id, screen, part)
    if part.full or part.step:
        yield from lines
        return
    shown = list(islice(lines, LINES_LIMIT))
    if next(lines, None) is None:
        yield from shown
        return
    cut = wrapped(CUT, screen.width)
    yield from shown[: LINES_LIMIT - len(cut) - 1]
    yield Text()
    yield from (Text(line, "yellow") for line in cut)


def _lines(archive: Archive, session_id: str | None, screen: Screen, part: ReplayPart) -> Iterator[Text]:
    summary = archive.session(session_id)
    if summary is None:
        yield Text(
            "Nothing is recorded in this session." if session_id is not None else "No trace is without a session."
        )
        return
    replay = Replay(
        screen.width,
        everything=part.full or part.step is not None,
        cost=summary.totals.cost_usd is not None,
        guides=ASCII if screen.plain_ascii else None,
    )
    yield from replay.head(summary, archive.scores(session_id))
    origin = archive.origin(session_id)
    if origin is not None:
        yield Text(fitted(in_one_line(f"forked from {origin}"), screen.width), "dim")
    shown = False
    for number, trace in _turns(archive, session_id, part):
        lines = list(_of_turn(replay, number, trace, part)) if _narrows(part) else _of_turn(replay, number, trace, part)
        for place, line in enumerate(lines):
            if place == 0:
                yield Text()
            shown = True
            yield line
    if not shown:
        yield Text()
        yield Text(_nothing(part))


def _narrows(part: ReplayPart) -> bool:
    return part.errors or part.chooses_steps


def _turns(archive: Archive, session_id: str | None, part: ReplayPart) -> Iterator[tuple[int, Trace]]:
    if part.turn is None:
        yield from enumerate(archive.traces(session_id), 1)
        return
    trace_ids = archive.trace_ids(session_id)
    if part.turn <= len(trace_ids):
        trace = archive.trace(trace_ids[part.turn - 1], session_id)
        if trace is not None:
            yield part.turn, trace


def _of_turn(replay: Replay, number: int, trace: Trace, part: ReplayPart) -> Iterator[Text]:
    if part.errors and not part.chooses_steps:
        yield from replay.problems(number, trace)
        return
    if not part.chooses_steps:
        yield from replay.trace(number, trace)
        return
    observations = [each for each in trace.observations if all(holds_for(each) for holds_for in _conditions(part))]
    if part.slowest:
        observations = sorted(observations, key=lambda each: each.own_time_ns, reverse=True)[:SLOWEST_SHOWN]
    if observations:
        yield from replay.steps(number, trace, observations)


def _conditions(part: ReplayPart) -> Iterable[Callable[[Observed], bool]]:
    if part.step:
        step = part.step.lower()
        yield lambda observation: observation.id.startswith(step)
    if part.errors:
        yield lambda observation: observation.level == "ERROR"
    if part.agent:
        agent = part.agent.casefold()
        yield lambda observation: agent_of(observation).casefold() == agent
    if part.grep:
        text = part.grep
        yield lambda observation: holds(observation, text)


def unknown_in(archive: Archive, session_id: str | None, part: ReplayPart) -> str | None:
    """Return a sentence where the turn or step that is asked for does not exist, with the nearest; else None."""
    trace_ids = archive.trace_ids(session_id)
    if part.turn is not None and trace_ids and part.turn > len(trace_ids):
        return f"There is no turn {part.turn}: the last one is {len(trace_ids)}."
    if part.step:
        ids = [row.span_id for trace_id in trace_ids for row in archive.columns(trace_id, session_id)]
        if ids and not any(span_id.startswith(part.step.lower()) for span_id in ids):
            nearest = get_close_matches(part.step.lower(), ids[:NEAREST_OF], 3, 0.4) or ids[:3]
            return (
                f"No step of this session begins with {in_one_line(part.step)}. The nearest are {', '.join(nearest)}."
            )
    return None


def _nothing(part: ReplayPart) -> str:
    if part.errors and not part.chooses_steps:
        return "Nothing went wrong."
    return "No step matches."

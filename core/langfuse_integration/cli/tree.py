"""A session replayed: its head, and each trace as a conversation and a tree of what was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from ..reading.archive import Archive, SessionSummary
from ..reading.conversation import exchange_of
from ..reading.replay import Observed, Trace
from ..reading.totals import Totals, own, totals_of
from .row import KIND_COLUMNS, Detail, brief, full, label, price
from .screen import Screen
from .text import clock, counted, day, dollars, duration, fitted, in_one_line, visible, wrapped

TIME_COLUMNS = 11
TOKEN_COLUMNS = 20
COST_COLUMNS = 9
SPEAKER_COLUMNS = 12
SAID_LINES = 4
"""How much of what was said is shown; all of it with `full`."""


class Guides(NamedTuple):
    """What trees are drawn with, three columns each."""

    branch: str = "├─ "
    last: str = "└─ "
    pass_by: str = "│  "
    rule: str = "─"


ASCII = Guides("|- ", "`- ", "|  ", "-")


class Replay:
    """Draws a session as lines of at most *width* columns.

    Args:
        everything: whole payloads and metadata instead of a line of each.
        cost: with a column for the cost.
        guides: what lines are drawn with.
    """

    def __init__(
        self, width: int = 80, *, everything: bool = False, cost: bool = False, guides: Guides | None = None
    ) -> None:
        self._width = width
        self._everything = everything
        self._cost = cost
        self._guides = guides or Guides()
        self._deepest = max(width // 3, 12)

    def head(self, summary: SessionSummary) -> Iterator[Text]:
        """Yield what a session is, in three lines."""
        name = "no session" if summary.session_id is None else in_one_line(summary.session_id)
        for line in wrapped(name, self._width):
            yield Text(line, "bold")
        facts = [_users(summary.users), counted(summary.traces, "trace"), counted(summary.observations, "observation")]
        yield from self._facts(facts)
        began, ended = summary.started_ns, summary.ended_ns
        until = clock(ended) if day(began) == day(ended) else f"{day(ended)} {clock(ended)}"
        yield from self._facts([f"{day(began)} {clock(began)} to {until} ({duration(began, ended)})"])
        yield from self._facts(_sums(summary.totals))
        if summary.still_open:
            yield Text(f"{counted(summary.still_open, 'observation')} not ended", "yellow")

    def trace(self, number: int, trace: Trace) -> Iterator[Text]:
        """Yield one trace: when and how long, what was said, what was done."""
        yield self._rule(number, trace)
        yield from self._said(trace)
        for root in trace.roots:
            yield from self.tree(root)

    def tree(self, root: Observed) -> Iterator[Text]:
        """Yield an observation and everything below it."""
        guides = self._guides
        waiting: list[tuple[Observed, str, str]] = [(root, "", "")]
        while waiting:
            observation, before, below = waiting.pop()
            yield self._row(observation, before)
            bar = guides.pass_by[:2] if observation.children else ""
            for detail in full(observation) if self._everything else brief(observation):
                yield from self._detail(below, bar, detail)
            for place, child in enumerate(reversed(observation.children)):
                joint, rest = (guides.last, "   ") if place == 0 else (guides.branch, guides.pass_by)
                waiting.append((child, below + joint, below + rest))

    def _rule(self, number: int, trace: Trace) -> Text:
        left = f"{self._guides.rule * 2} {number} {self._guides.rule} {clock(trace.started_ns)} "
        columns = self._columns(duration(trace.started_ns, trace.ended_ns), totals_of(trace.observations))
        fill = self._width - cell_len(left) - cell_len(columns.plain)
        line = Text(left, "bold")
        line.append(self._guides.rule * max(fill - 1, 0) + " ", "dim")
        line += columns
        line.rstrip()
        return line

    def _said(self, trace: Trace) -> Iterator[Text]:
        exchange = exchange_of(trace)
        user = next((observation.user_id for observation in trace.observations if observation.user_id), None)
        if exchange.question:
            yield from self._line_of(user or "user", exchange.question, "yellow")
        if exchange.answer:
            yield from self._line_of(exchange.answered_by or "assistant", exchange.answer, "bold")
        if exchange.question or exchange.answer:
            yield Text()

    def _line_of(self, speaker: str, text: str, style: str) -> Iterator[Text]:
        name = fitted(in_one_line(speaker), SPEAKER_COLUMNS)
        lines = wrapped(visible(text), self._width - SPEAKER_COLUMNS - 2, None if self._everything else SAID_LINES)
        for index, line in enumerate(lines):
            start = name + " " * (SPEAKER_COLUMNS - cell_len(name)) if index == 0 else " " * SPEAKER_COLUMNS
            yield Text.assemble((start, style), "  ", line)

    def _row(self, observation: Observed, before: str) -> Text:
        before = self._squeezed(before)
        ended_ns = observation.ended_ns if observation.finished else observation.started_ns
        columns = self._columns(
            duration(observation.started_ns, ended_ns) if observation.finished else "", own(observation)
        )
        name = label(observation)
        room = self._width - cell_len(before) - cell_len(columns.plain) - 1
        name.truncate(max(room, 8), overflow="ellipsis")
        gap = self._width - cell_len(before) - cell_len(name.plain) - cell_len(columns.plain)
        row = Text.assemble((before, "dim"), name, " " * max(gap, 1), columns)
        row.rstrip()
        return row

    def _detail(self, before: str, bar: str, detail: Detail) -> Iterator[Text]:
        before = self._squeezed(before) + bar
        columns = KIND_COLUMNS - len(bar)
        room = self._width - cell_len(before) - columns - 1
        word = fitted(detail.word, columns).ljust(columns)
        lines = wrapped(detail.text, room) if self._everything else [fitted(detail.text, room)]
        for index, line in enumerate(lines):
            start = word if index == 0 else " " * columns
            yield Text.assemble((before, "dim"), (start + " ", "dim"), (line, detail.style))

    def _squeezed(self, before: str) -> str:
        """Let what stands very deep keep room for itself: its outer levels become a mark."""
        if cell_len(before) <= self._deepest:
            return before
        return "… " + before[-(self._deepest - 2) :]

    def _columns(self, time: str, totals: Totals) -> Text:
        text = Text(time.rjust(TIME_COLUMNS), "dim")
        text.append(_tokens(totals).rjust(TOKEN_COLUMNS), "dim")
        if self._cost:
            text.append(price(totals.cost_usd).rjust(COST_COLUMNS), "dim")
        return text

    def _facts(self, facts: list[str]) -> Iterator[Text]:
        for line in wrapped(", ".join(facts), self._width):
            yield Text(line, "dim")


def replayed(archive: Archive, session_id: str | None, screen: Screen, *, everything: bool = False) -> Iterator[Text]:
    """Yield a session as lines for *screen*, one trace after the other."""
    summary = archive.session(session_id)
    if summary is None:
        yield Text("Nothing is recorded in it." if session_id is not None else "Everything belongs to a session.")
        return
    replay = Replay(
        screen.width,
        everything=everything,
        cost=summary.totals.cost_usd is not None,
        guides=ASCII if screen.plain_ascii else None,
    )
    yield from replay.head(summary)
    for number, trace in enumerate(archive.traces(session_id), 1):
        yield Text()
        yield from replay.trace(number, trace)


def _users(users: tuple[str, ...]) -> str:
    if not users:
        return "no user"
    named = ", ".join(in_one_line(user) for user in users[:5])
    return f"{'user' if len(users) == 1 else 'USERS MIXED:'} {named}{', ...' if len(users) > 5 else ''}"


def _sums(totals: Totals) -> list[str]:
    facts = []
    if totals.tokens:
        facts += [f"{totals.tokens_in:,} tokens in", f"{totals.tokens_out:,} out"]
    if totals.cost_usd is not None:
        facts.append(dollars(totals.cost_usd))
    return [*facts, counted(totals.errors, "error") if totals.errors else "no errors"]


def _tokens(totals: Totals) -> str:
    if not totals.tokens:
        return ""
    if not (totals.tokens_in or totals.tokens_out):
        return f"{_short(totals.tokens)} tokens"
    return f"{_short(totals.tokens_in)} in {_short(totals.tokens_out):>5} out"


def _short(count: int) -> str:
    return (
        f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k" if count < 10_000_000 else f"{count / 1e6:,.0f}M"
    )

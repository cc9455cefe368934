"""The list of sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from ..presentation import cost_of, duration, score_line, when
from ..reading.archive import SessionSummary
from .text import fitted, in_one_line

GAP = 2
USER_COLUMNS = 14
SCORES_COLUMNS = 24


class Column(NamedTuple):
    """One column: its cells and how far it may shrink.

    Attributes:
        least: columns of the terminal that it may shrink to; 0 for not at all.
        given_up: the higher, the sooner it is left out where all do not fit; 0 for never.
    """

    title: str
    cells: Sequence[str]
    least: int = 0
    given_up: int = 0
    left: bool = False

    @property
    def width(self) -> int:
        """The widest cell."""
        return max(cell_len(cell) for cell in (self.title, *self.cells))


def table(summaries: Sequence[SessionSummary], width: int) -> Iterator[Text]:
    """Yield a header and a line for each session, at most *width* columns wide."""
    columns = [column for column in _columns(summaries) if column.title or any(column.cells)]
    widths = _widths(columns, width)
    while sum(widths) + GAP * (len(widths) - 1) > width and any(column.given_up for column in columns):
        columns.remove(max(columns, key=lambda column: column.given_up))
        widths = _widths(columns, width)
    yield _line(columns, widths, [column.title for column in columns], "dim", width)
    for place in range(len(summaries)):
        yield _line(columns, widths, [column.cells[place] for column in columns], "", width)


def _columns(summaries: Sequence[SessionSummary]) -> Iterator[Column]:
    totals = [summary.totals for summary in summaries]
    yield Column("SESSION", [in_one_line(summary.session_id) for summary in summaries], least=18, left=True)
    yield Column("USER", [_users(summary) for summary in summaries], least=8, left=True)
    yield Column("LAST", [when(summary.ended_ns) for summary in summaries], given_up=2)
    yield Column("TRACES", [f"{summary.traces:,}" for summary in summaries], given_up=1)
    yield Column("STEPS", [f"{summary.observations:,}" for summary in summaries], given_up=4)
    yield Column("TOKENS", [f"{total.tokens:,}" for total in totals], given_up=3)
    yield Column("TIME", [duration(summary.ended_ns - summary.started_ns) for summary in summaries], given_up=5)
    if any(total.cost_usd is not None for total in totals):
        yield Column("COST", [cost_of(total) for total in totals])
    if any(summary.scores for summary in summaries):
        yield Column("SCORES", [_scores(summary) for summary in summaries], given_up=6, left=True)
    yield Column("", [_remarks(summary) for summary in summaries], left=True)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    widths = [min(column.width, USER_COLUMNS) if column.title == "USER" else column.width for column in columns]
    for place, column in enumerate(columns):
        over = sum(widths) + GAP * (len(widths) - 1) - width
        if over > 0 and column.least:
            widths[place] = max(widths[place] - over, min(widths[place], column.least))
    return widths


def _users(summary: SessionSummary) -> str:
    return ",".join(in_one_line(user) for user in summary.users) or "-"


def _scores(summary: SessionSummary) -> str:
    return fitted(", ".join(in_one_line(score_line(score)) for score in summary.scores[-3:]), SCORES_COLUMNS)


def _remarks(summary: SessionSummary) -> str:
    remarks: list[str] = []
    if len(summary.users) > 1:
        remarks.append(f"{len(summary.users)} users")
    if summary.totals.errors:
        remarks.append(f"{summary.totals.errors} err")
    if summary.still_open:
        remarks.append("open")
    return " ".join(remarks)


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str], style: str, width: int) -> Text:
    line = Text(style=style)
    for column, room, cell in zip(columns, widths, cells, strict=True):
        text = fitted(cell, room)
        space = " " * (room - cell_len(text))
        if line.plain:
            line.append(" " * GAP)
        cell_style = "" if style else {"SESSION": "bold", "": "red"}.get(column.title, "")
        line.append(text + space if column.left else space + text, cell_style)
    line.truncate(width, overflow="ellipsis")
    line.rstrip()
    return line

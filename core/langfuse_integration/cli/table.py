"""The list of sessions."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from ..archive import SessionSummary
from .text import dollars, duration, fitted, in_one_line, when

GAP = 2
SMALLEST_COLUMNS = 10


def table(summaries: list[SessionSummary], width: int) -> Iterator[Text]:
    """Yield a header and a line for each session, at most *width* columns wide; the session's column gives way."""
    cost = any(summary.totals.cost_usd is not None for summary in summaries)
    rows = [_cells(summary, cost) for summary in summaries]
    header = ["SESSION", "USER", "LAST", "TRACES", "STEPS", "TOKENS", "TIME", *(["COST"] if cost else []), ""]
    widths = [max(cell_len(row[place]) for row in [header, *rows]) for place in range(len(header))]
    widths[1] = min(widths[1], 14)
    for place in (0, 1):
        over = sum(widths) + GAP * (len(widths) - 1) - width
        widths[place] = max(widths[place] - max(over, 0), min(widths[place], SMALLEST_COLUMNS))
    yield _line(header, widths, "dim")
    for summary, row in zip(summaries, rows, strict=True):
        yield _line(row, widths, "", failed=bool(summary.totals.errors) or len(summary.users) > 1)


def _cells(summary: SessionSummary, cost: bool) -> list[str]:
    users = [in_one_line(user) for user in summary.users]
    remarks = []
    if len(users) > 1:
        remarks.append(f"{len(users)} users")
    if summary.totals.errors:
        remarks.append(f"{summary.totals.errors} err")
    if summary.still_open:
        remarks.append("open")
    return [
        in_one_line(summary.session_id),
        ",".join(users) or "-",
        when(summary.ended_ns),
        str(summary.traces),
        str(summary.observations),
        f"{summary.totals.tokens:,}",
        duration(summary.started_ns, summary.ended_ns),
        *([dollars(summary.totals.cost_usd) if summary.totals.cost_usd is not None else ""] if cost else []),
        " ".join(remarks),
    ]


def _line(cells: list[str], widths: list[int], style: str, failed: bool = False) -> Text:
    line = Text(style=style)
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = fitted(cell, width)
        space = " " * (width - cell_len(text))
        left = place in (0, 1, len(cells) - 1)
        last = place == len(cells) - 1
        piece = (text if last else text + space) if left else space + text
        line.append(piece, "red" if failed and last else "bold" if place == 0 and not style else "")
        line.append("" if last else " " * GAP)
    line.rstrip()
    return line

"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from .compare import CLOCKS, Result
from .workloads import workload


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* under *head*, the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        return "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Return a number with so many digits, or a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


TITLES = {"wall": "elapsed", "thread": "calling thread", "process": "process"}


def of_result(name: str, result: Result) -> str:
    """Return the table of one workload: what each contender adds to one run, in microseconds and times the floor."""
    head = ["added to one run", *(cell for clock in CLOCKS for cell in (f"{TITLES[clock]} us", "x"))]
    head += ["quartiles of thread us", "spans"]
    rows = []
    for contender, line in sorted(result.lines.items(), key=lambda item: item[1].added["thread"].us):
        cells = [contender]
        for clock in CLOCKS:
            cells += [number(line.added[clock].us), number(line.added[clock].ratio, 2)]
        thread = line.added["thread"]
        rows.append([*cells, f"{thread.low_us:,.1f} to {thread.high_us:,.1f}", number(line.spans)])
    untraced = ", ".join(f"{TITLES[clock]} {number(result.untraced_us[clock])} us" for clock in CLOCKS)
    title = f"{name}  {workload(name).about}; {result.rounds} rounds of {result.runs} runs; untraced: {untraced}"
    missing = [f"{contender}: not measured: {why}" for contender, why in result.missing.items()]
    return "\n".join([title, table(head, rows), *missing])

"""The head of a trace, and its rows in the order of its tree, for one page.

Both are read from the journal's columns; only what is shown is decoded, so that a session of 10,000 observations opens
as fast as one of ten.
"""

from __future__ import annotations

from typing import NamedTuple

from ..reading.archive import Archive, ObservationColumns
from ..reading.problems import Problem, problems_of
from ..reading.replay import Observed, Trace
from ..reading.totals import Totals, totals_of

HEAD_OBSERVATIONS = 60
"""The most observations of a trace that are read for its conversation."""


class Head(NamedTuple):
    """A trace before it is opened.

    Attributes:
        trace: its first observations, or all of them if it is *whole*.
        observations, errors, totals: over all of it.
        problems: what went wrong; in a long trace only the first failures.
        running: whether the process that began it is still at it.
        version: changes when anything in it does.
    """

    trace: Trace
    whole: bool
    started_ns: int
    ended_ns: int
    observations: int
    errors: int
    totals: Totals
    problems: list[Problem]
    running: bool
    version: str


class Line(NamedTuple):
    """One row of a trace's tree, not decoded yet."""

    span_id: str
    depth: int
    started_ns: int
    ended_ns: int


class Outline(NamedTuple):
    """A trace's rows in the order of its tree."""

    trace_id: str
    started_ns: int
    ended_ns: int
    lines: list[Line]

    def place(self, span_id: str) -> int | None:
        """Return the number of an observation's row, or None."""
        return next((number for number, line in enumerate(self.lines) if line.span_id == span_id), None)


FAILED_SHOWN = 3


def head(archive: Archive, trace_id: str, session_id: str | None, totals: Totals | None = None) -> Head | None:
    """Return the head of a trace, or None if nothing is left of it.

    Args:
        totals: what it adds up to, where that is known already.
    """
    columns = archive.columns(trace_id, session_id)
    if not columns:
        return None
    whole = len(columns) <= HEAD_OBSERVATIONS
    first = {row.span_id for row in columns[:HEAD_OBSERVATIONS]}
    failed = _deepest_failures(columns)
    chains = [] if whole else _with_parents(failed[:FAILED_SHOWN], columns)
    observed = {each.id: each for each in archive.observed(trace_id, [*first, *chains])}
    trace = Trace(each for each in observed.values() if each.id in first)
    if not trace.observations:
        return None  # all rows are damaged
    problems = problems_of(trace if whole else Trace(observed[each] for each in chains if each in observed))
    if not whole:  # the steps in between are not there to be compared
        problems = [each for each in problems if each.kind == "failed"]
        trace = Trace(each for each in observed.values() if each.id in first)
    still_open = [row for row in columns if not row.ended_ns]
    ended_ns = _ended(columns)
    return Head(
        trace=trace,
        whole=whole,
        started_ns=columns[0].started_ns,
        ended_ns=ended_ns,
        observations=len(columns),
        errors=len(failed),
        totals=totals_of(trace.observations) if whole else totals or archive.totals(trace_id, session_id),
        problems=problems,
        running=any(getattr(observation, "alive", False) for observation in trace.observations),
        version=f"{len(columns)}-{len(still_open)}-{ended_ns}",
    )


def _deepest_failures(columns: list[ObservationColumns]) -> list[str]:
    """Return the failed observations below which nothing failed."""
    failed = [row for row in columns if row.level == "ERROR"]
    above = {row.parent_id for row in failed}
    return [row.span_id for row in failed if row.span_id not in above]


def _with_parents(span_ids: list[str], columns: list[ObservationColumns]) -> list[str]:
    parents = {row.span_id: row.parent_id for row in columns}
    chains: dict[str, None] = {}
    for span_id in span_ids:
        while span_id in parents and span_id not in chains:
            chains[span_id] = None
            span_id = parents[span_id]
    return list(chains)


def outline(archive: Archive, trace_id: str, session_id: str | None = None) -> Outline | None:
    """Return the rows of a trace in the order of its tree, or None if it is unknown."""
    columns = archive.columns(trace_id, session_id)
    if not columns:
        return None
    span_ids = {row.span_id for row in columns}
    below: dict[str, list[ObservationColumns]] = {}
    for row in columns:
        parent = row.parent_id if row.parent_id in span_ids and row.parent_id != row.span_id else ""
        below.setdefault(parent, []).append(row)
    lines: list[Line] = []
    waiting = [(row, 0) for row in reversed(below.pop("", []))]
    while waiting:
        row, depth = waiting.pop()
        lines.append(Line(row.span_id, depth, row.started_ns, row.ended_ns))
        waiting += [(child, depth + 1) for child in reversed(below.pop(row.span_id, []))]
    for orphans in below.values():  # a knot of parents, which only a damaged journal holds
        lines += [Line(row.span_id, 0, row.started_ns, row.ended_ns) for row in orphans]
    return Outline(trace_id, columns[0].started_ns, _ended(columns), lines)


def decoded(archive: Archive, trace_id: str, lines: list[Line]) -> dict[str, Observed]:
    """Return the observations of some rows, by id."""
    return {observation.id: observation for observation in archive.observed(trace_id, [line.span_id for line in lines])}


def _ended(columns: list[ObservationColumns]) -> int:
    return max(max(row.ended_ns, row.started_ns) for row in columns)

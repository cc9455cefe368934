"""A session's page: its turns, each a trace as a conversation, and the trees of those that are open."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from ..reading.archive import Archive, SessionSummary
from ..reading.conversation import Exchange, exchange_of
from ..reading.replay import Observed
from .formatting import counted
from .outline import Head, decoded, head, outline
from .rows import Row, row

TURNS_PAGE = 20
ROWS_PAGE = 200
AT_ONCE = 120
"""Rows that a page brings along folded, so that the first turns open at once and without JavaScript."""


class Tree(NamedTuple):
    """A page of a trace's rows.

    Attributes:
        before, left: rows before and after these.
        more: where the rest of them is to be had.
        details: the observations themselves by id, where they cannot be asked for later.
        whole: with long inputs and outputs in full.
    """

    id: str
    session_id: str | None
    rows: list[Row]
    page: int
    before: int
    left: int
    more: str
    details: dict[str, Observed]
    whole: bool


class Turn(NamedTuple):
    """One trace, as it stands in the conversation."""

    number: int
    head: Head
    exchange: Exchange
    user: str | None
    steps: list[str]
    servers: list[str]
    tree: Tree | None


def turns_of(archive: Archive, summary: SessionSummary, ids: list[str], page: int, open_trace: str) -> list[Turn]:
    """Return a page of a session's turns.

    Args:
        ids: all its traces in their order.
        opened: the trace whose tree comes along whatever its size.
    """
    session_id = summary.session_id
    alone = summary.totals if len(ids) == 1 else None
    first = page * TURNS_PAGE
    turns: list[Turn] = []
    room = AT_ONCE
    for number, trace_id in enumerate(ids[first : first + TURNS_PAGE], first + 1):
        trace_head = head(archive, trace_id, session_id, alone)
        if trace_head is None:
            continue
        tree = None
        if trace_head.whole and trace_id != open_trace and trace_head.observations <= room:
            room -= trace_head.observations
            tree = tree_of(archive, trace_id, session_id)
        turns.append(turn_of(number, trace_head, tree))
    return turns


def turn_of(number: int, trace_head: Head, tree: Tree | None) -> Turn:
    """Return a turn from its head."""
    observations = trace_head.trace.observations
    thinks = sum(observation.is_think for observation in observations)
    acts = sum(observation.is_act for observation in observations)
    steps = [counted(trace_head.observations, "step")]
    if trace_head.whole:
        steps += [counted(count, word) for count, word in ((thinks, "think"), (acts, "act")) if count]
    servers = dict.fromkeys(
        str(observation.metadata["mcp_server"])
        for observation in observations
        if observation.metadata.get("mcp_server")
    )
    return Turn(
        number=number,
        head=trace_head,
        exchange=exchange_of(trace_head.trace),
        user=next((observation.user_id for observation in observations if observation.user_id), None),
        steps=steps,
        servers=list(servers),
        tree=tree,
    )


def tree_of(
    archive: Archive,
    trace_id: str,
    session_id: str | None,
    page: int = 0,
    *,
    at: str = "",
    size: int = ROWS_PAGE,
    details: bool = False,
    whole: bool = False,
) -> Tree | None:
    """Return a page of a trace's rows, or None if it is unknown.

    Args:
        at: an observation: the page on which it stands.
        details: with the observations themselves.
        whole: with long inputs and outputs in full.
    """
    rows_outline = outline(archive, trace_id, session_id)
    if rows_outline is None:
        return None
    place = rows_outline.place(at) if at else None
    if place is not None:
        page = place // size
    lines = rows_outline.lines[page * size : (page + 1) * size]
    observed = decoded(archive, trace_id, lines)
    query: dict[str, object] = {"rows": page + 1, "part": 1}
    if session_id is not None:
        query["session"] = session_id
    return Tree(
        id=trace_id,
        session_id=session_id,
        rows=[row(line, observed[line.span_id], rows_outline) for line in lines if line.span_id in observed],
        page=page,
        before=page * size,
        left=max(len(rows_outline.lines) - (page + 1) * size, 0),
        more=f"/traces/{trace_id}?{urlencode(query)}",
        details=observed if details else {},
        whole=whole,
    )

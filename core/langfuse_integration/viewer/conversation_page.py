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


def turns_of(archive: Archive, summary: SessionSummary, ids: list[str], page: int, opened: str) -> list[Turn]:
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
        found = head(archive, trace_id, session_id, alone)
        if found is None:
            continue
        tree = None
        if found.whole and trace_id != opened and found.observations <= room:
            room -= found.observations
            tree = tree_of(archive, trace_id, session_id)
        turns.append(turn_of(number, found, tree))
    return turns


def turn_of(number: int, found: Head, tree: Tree | None) -> Turn:
    """Return a turn from its head."""
    observations = found.trace.observations
    thinks = sum(one.is_think for one in observations)
    acts = sum(one.is_act for one in observations)
    steps = [counted(found.observations, "step")]
    if found.whole:
        steps += [counted(count, word) for count, word in ((thinks, "think"), (acts, "act")) if count]
    servers = dict.fromkeys(str(one.metadata["mcp_server"]) for one in observations if one.metadata.get("mcp_server"))
    return Turn(
        number=number,
        head=found,
        exchange=exchange_of(found.trace),
        user=next((one.user_id for one in observations if one.user_id), None),
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
    found = outline(archive, trace_id, session_id)
    if found is None:
        return None
    place = found.place(at) if at else None
    if place is not None:
        page = place // size
    lines = found.lines[page * size : (page + 1) * size]
    observed = decoded(archive, trace_id, lines)
    asked: dict[str, object] = {"rows": page + 1, "part": 1}
    if session_id is not None:
        asked["session"] = session_id
    return Tree(
        id=trace_id,
        session_id=session_id,
        rows=[row(line, observed[line.span_id], found) for line in lines if line.span_id in observed],
        page=page,
        before=page * size,
        left=max(len(found.lines) - (page + 1) * size, 0),
        more=f"/traces/{trace_id}?{urlencode(asked)}",
        details=observed if details else {},
        whole=whole,
    )

"""A session's page: its turns, each a trace as a conversation, and the trees of those that are open."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from ..presentation import counted
from ..reading.archive import Archive, SessionSummary
from ..reading.conversation import Utterance, conversation_of
from ..reading.replay import Observed
from .outline import Head, decoded, head, outline
from .rows import StepRow, row

TURNS_PAGE = 20
ROWS_PAGE = 200
AT_ONCE = 120
"""Rows included in a page while folded: the first turns open at once, also without JavaScript."""


class RowsPage(NamedTuple):
    """A page of a trace's rows.

    Attributes:
        before, left: rows before and after these.
        more: the address of the next page.
        details: the observations themselves by id, where they cannot be asked for later.
        whole: with long inputs and outputs in full.
        agents: how many agents these steps belong to.
    """

    id: str
    session_id: str | None
    rows: list[StepRow]
    page: int
    before: int
    left: int
    more: str
    details: dict[str, Observed]
    whole: bool
    agents: int


class RowsView(NamedTuple):
    """The rows of a trace that are shown, and their level of detail.

    Attributes:
        page: from 0 on.
        at: an observation: the page on which it stands is shown instead.
        size: rows of a page.
        details: with the observations themselves.
        whole: with long inputs and outputs in full.
    """

    page: int = 0
    at: str = ""
    size: int = ROWS_PAGE
    details: bool = False
    whole: bool = False


class ConversationTurn(NamedTuple):
    """One trace, as it stands in the conversation."""

    number: int
    head: Head
    utterances: list[Utterance]
    user: str | None
    steps: list[str]
    servers: list[str]
    tree: RowsPage | None


def turns_of(
    archive: Archive, summary: SessionSummary, ids: list[str], page: int, open_trace: str
) -> list[ConversationTurn]:
    """Return a page of a session's turns.

    Args:
        ids: all its traces in their order.
        opened: the trace whose tree comes along whatever its size.
    """
    session_id = summary.session_id
    alone = summary.totals if len(ids) == 1 else None
    first = page * TURNS_PAGE
    turns: list[ConversationTurn] = []
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


def turn_of(number: int, trace_head: Head, tree: RowsPage | None) -> ConversationTurn:
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
    return ConversationTurn(
        number=number,
        head=trace_head,
        utterances=conversation_of(trace_head.trace),
        user=next((observation.user_id for observation in observations if observation.user_id), None),
        steps=steps,
        servers=list(servers),
        tree=tree,
    )


def tree_of(archive: Archive, trace_id: str, session_id: str | None, view: RowsView | None = None) -> RowsPage | None:
    """Return a page of a trace's rows, or None if it is unknown."""
    rows_outline = outline(archive, trace_id, session_id)
    if rows_outline is None:
        return None
    view = view or RowsView()
    place = rows_outline.place(view.at) if view.at else None
    page = view.page if place is None else place // view.size
    lines = rows_outline.lines[page * view.size : (page + 1) * view.size]
    observed = decoded(archive, trace_id, lines)
    query: dict[str, object] = {"rows": page + 1, "part": 1}
    if session_id is not None:
        query["session"] = session_id
    rows = [row(line, observed[line.span_id], rows_outline) for line in lines if line.span_id in observed]
    return RowsPage(
        id=trace_id,
        session_id=session_id,
        rows=rows,
        page=page,
        before=page * view.size,
        left=max(len(rows_outline.lines) - (page + 1) * view.size, 0),
        more=f"/traces/{trace_id}?{urlencode(query)}",
        details=observed if view.details else {},
        whole=view.whole,
        agents=len({each.agent for each in rows if each.agent}),
    )

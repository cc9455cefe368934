"""One row of a trace's tree as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..reading.replay import Observed
from ..reading.totals import Totals, own
from .formatting import brief, lasting, pretty
from .outline import Line, Outline

DEEPEST = 12
"""Deeper rows are not moved in any further."""
NARROWEST = 0.4
"""How much of the waterfall's width a bar takes at least, in percent."""
AROUND = 80
"""Characters shown on either side of what was searched for."""
COLOURED = frozenset({"think", "act", "agent", "tool", "generation", "retriever", "embedding"})


class Mark(NamedTuple):
    """What an observation is, at a glance.

    Attributes:
        kind: think, act, or the type.
        step: the number of the step, or nothing.
        tint: which colour it has.
    """

    kind: str
    step: str
    tint: str


def mark(found: Observed) -> Mark:
    """Return what an observation is."""
    kind = "think" if found.is_think else "act" if found.is_act else found.type
    tint = "failed" if found.level == "ERROR" else kind if kind in COLOURED else "plain"
    return Mark(kind, str(found.metadata.get("step_index") or ""), tint)


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of an observation before it is opened.

    Attributes:
        kind: think, act, or the type.
        step: the number of the step, or nothing.
        tint: which colour it has.
        server: the MCP server that was called, or nothing.
        name: without the server's.
        state: running, never ended, or nothing.
        left, width: where it lies in the trace's time, in percent.
        think_id: the think that an act answers, or nothing.
    """

    id: str
    trace_id: str
    depth: int
    kind: str
    step: str
    tint: str
    name: str
    server: str
    brief: str
    level: str
    state: str
    lasting: str
    totals: Totals
    left: float
    width: float
    think_id: str


def row(line: Line, found: Observed, within: Outline) -> Row:
    """Return the row of one observation."""
    whole = max(within.ended_ns - within.started_ns, 1)
    ended = max(found.ended_ns, found.started_ns) if found.finished else within.ended_ns
    left = min((found.started_ns - within.started_ns) * 100 / whole, 100 - NARROWEST)
    width = min(max((ended - found.started_ns) * 100 / whole, NARROWEST), 100 - left)
    metadata = found.metadata
    seen = mark(found)
    server = str(metadata.get("mcp_server") or "")
    return Row(
        id=found.id,
        trace_id=found.trace_id,
        depth=min(line.depth, DEEPEST),
        kind=seen.kind,
        step=seen.step,
        tint=seen.tint,
        name=_name(found, server, str(metadata.get("mcp_tool") or "")),
        server=server,
        brief=brief(found),
        level=found.level,
        state=_state(found),
        lasting=lasting(ended - found.started_ns) if found.finished else "",
        totals=own(found),
        left=round(left, 3),
        width=round(width, 3),
        think_id=str(metadata.get("think_id") or ""),
    )


def _name(found: Observed, server: str, tool: str) -> str:
    if found.is_think and found.model:
        return found.model
    if server:
        return tool or found.name.removeprefix(f"{server}.")
    return found.name


def _state(found: Observed) -> str:
    if found.finished:
        return ""
    return "running" if getattr(found, "alive", False) else "never ended"


@dataclass(frozen=True, slots=True)
class Hit:
    """An observation that a search has found, with what stands around the words that were searched for."""

    id: str
    trace_id: str
    kind: str
    tint: str
    name: str
    started_ns: int
    before: str
    words: str
    after: str


def hit(found: Observed, text: str) -> Hit:
    """Return how a search for *text* shows what it found; without a text it is what it came to."""
    seen = mark(found)
    before, words, after = _around(found, text) if text else ("", "", brief(found))
    return Hit(
        id=found.id,
        trace_id=found.trace_id,
        kind=seen.kind,
        tint=seen.tint,
        name=found.name,
        started_ns=found.started_ns,
        before=before,
        words=words,
        after=after,
    )


def _around(found: Observed, text: str) -> tuple[str, str, str]:
    for value in (found.status_message, found.output, found.input, found.name, found.metadata):
        if value is None:
            continue
        line = pretty(value)
        place = line.casefold().find(text.casefold())
        if place >= 0:
            end = place + len(text)
            start = max(place - AROUND, 0)
            before = ("…" if start else "") + line[start:place]
            after = line[end : end + AROUND] + ("…" if end + AROUND < len(line) else "")
            return before, line[place:end], after
    return "", "", brief(found)

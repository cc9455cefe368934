"""One row of a trace's tree as its page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..presentation import agent_of, duration, kind_of, state_of, title_of
from ..reading.replay import Observed
from ..reading.totals import Totals, own
from .formatting import brief, exchange, pretty
from .outline import Line, Outline

DEEPEST = 12
"""Deeper rows are not moved in any further."""
NARROWEST = 0.4
"""How much of the waterfall's width a bar takes at least, in percent."""
AROUND = 80
"""Characters shown on either side of what was searched for."""
COLOURED = frozenset({"think", "act", "agent", "tool", "generation", "retriever", "embedding"})


class Mark(NamedTuple):
    """The kind of an observation and its colour.

    Attributes:
        kind: think, act, or the type.
        step: the number of the step, or nothing.
        tint: which colour it has.
    """

    kind: str
    step: str
    tint: str


def mark(observation: Observed) -> Mark:
    """Return the kind of an observation."""
    kind, step = kind_of(observation)
    tint = "failed" if observation.level == "ERROR" else kind if kind in COLOURED else "plain"
    return Mark(kind, step, tint)


@dataclass(frozen=True, slots=True)
class StepRow:
    """The summary of an observation in its row.

    Attributes:
        kind: think, act, or the type.
        step: the number of the step, or nothing.
        tint: which colour it has.
        server: the MCP server that was called, or nothing.
        name: without the server's.
        state: running, never ended, or nothing.
        left, width: where it lies in the trace's time, in percent.
        took_ns: how long it took; 0 while it is open.
        think_id: the think that an act answers, or nothing.
        agent: the agent that the step belongs to, or nothing.
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
    took_ns: int
    think_id: str
    agent: str


def row(line: Line, observation: Observed, within: Outline) -> StepRow:
    """Return the row of one observation."""
    whole = max(within.ended_ns - within.started_ns, 1)
    ended = max(observation.ended_ns, observation.started_ns) if observation.finished else within.ended_ns
    left = min((observation.started_ns - within.started_ns) * 100 / whole, 100 - NARROWEST)
    width = min(max((ended - observation.started_ns) * 100 / whole, NARROWEST), 100 - left)
    shown_mark = mark(observation)
    title = title_of(observation)
    return StepRow(
        id=observation.id,
        trace_id=observation.trace_id,
        depth=min(line.depth, DEEPEST),
        kind=shown_mark.kind,
        step=shown_mark.step,
        tint=shown_mark.tint,
        name=title.name,
        server=title.server,
        brief=exchange(observation),
        level=observation.level,
        state=state_of(observation),
        lasting=duration(ended - observation.started_ns) if observation.finished else "",
        totals=own(observation),
        left=round(left, 3),
        width=round(width, 3),
        took_ns=ended - observation.started_ns if observation.finished else 0,
        think_id=str(observation.metadata.get("think_id") or ""),
        agent=agent_of(observation),
    )


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


def hit(observation: Observed, text: str) -> Hit:
    """Return how a search for *text* shows what it found; without a text it is what it came to."""
    shown_mark = mark(observation)
    before, match, after = _around(observation, text) if text else ("", "", brief(observation))
    return Hit(
        id=observation.id,
        trace_id=observation.trace_id,
        kind=shown_mark.kind,
        tint=shown_mark.tint,
        name=title_of(observation).name,
        started_ns=observation.started_ns,
        before=before,
        words=match,
        after=after,
    )


def _around(observation: Observed, text: str) -> tuple[str, str, str]:
    for value in (
        observation.status_message,
        observation.output,
        observation.input,
        observation.name,
        observation.metadata,
    ):
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
    return "", "", brief(observation)

"""Sessions, steps, problems and differences as lines of text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..presentation import (
    agent_of,
    contrasts_of,
    cost_of,
    counted,
    duration,
    kind_of,
    moment,
    score_line,
    state_of,
    summary_of,
    title_of,
)
from ..reading.archive import SessionSummary
from ..reading.comparison import StepPair
from ..reading.problems import Problem
from ..reading.replay import Observed, Trace
from ..reading.volatile import VolatileParts

LINE_CHARACTERS = 240
BEFORE = 20
"""Characters shown in front of the first difference of two texts."""
SCORES_IN_LINE, SCORE_CHARACTERS = 3, 40


def session_line(summary: SessionSummary) -> str:
    """Return one session: its user, its time, its tokens and cost, its errors."""
    totals = summary.totals
    users = ", ".join(summary.users) or "no user"
    facts = [
        f"MIXED USERS {users}" if len(summary.users) > 1 else users,
        moment(summary.started_ns),
        counted(summary.traces, "turn"),
        counted(summary.observations, "step"),
        duration(summary.ended_ns - summary.started_ns),
        f"{totals.tokens_in:,} tokens in, {totals.tokens_out:,} out",
        *([cost_of(totals)] if totals.cost_usd is not None else []),
        counted(totals.errors, "error") if totals.errors else "no errors",
        *([f"{counted(summary.still_open, 'step')} not ended"] if summary.still_open else []),
        *[f"scored {one_line(score_line(score))[:SCORE_CHARACTERS]}" for score in summary.scores[-SCORES_IN_LINE:]],
    ]
    return f"{summary.session_id}: {'; '.join(facts)}"


def problem_line(turn: int, problem: Problem) -> str:
    """Return a problem and the step where it happened."""
    where = " > ".join(str(title_of(each)) for each in (*problem.chain[-3:], problem.observation))
    outcome = f", {problem.outcome}" if problem.outcome else ""
    return f"turn {turn}: {problem.kind}{outcome}: {one_line(problem.message)} in {where} [{problem.observation.id}]"


def problem_values(turn: int, problem: Problem) -> dict[str, Any]:
    """Return a problem as plain values."""
    return {
        "turn": turn,
        "kind": problem.kind,
        "outcome": problem.outcome or None,
        "times": problem.times,
        "step": problem.observation.id,
    }


def step_line(observation: Observed) -> str:
    """Return a step with its id and its result."""
    level = f" {observation.level}" if observation.level in ("ERROR", "WARNING") else ""
    state = f" {state_of(observation)}" if state_of(observation) else ""
    agent = f" by {agent_of(observation)}" if observation.type != "agent" and agent_of(observation) else ""
    line = f"[{observation.id}] {kind_of(observation)} {title_of(observation)}{agent}{level}{state}"
    return f"{line}: {one_line(summary_of(observation))}"[:LINE_CHARACTERS]


def details(number: int, trace: Trace, observation: Observed) -> Iterator[str]:
    """Yield all details of a step."""
    parents = {child.id: parent for parent in trace.observations for child in parent.children}
    chain: list[str] = []
    above = parents.get(observation.id)
    while above is not None:
        chain.append(f"{title_of(above)} [{above.id}]")
        above = parents.get(above.id)
    yield step_line(observation)
    yield f"turn {number}, in {' > '.join(reversed(chain)) or 'no other step'}"
    yield f"started {moment(observation.started_ns)}, took {duration(observation.ended_ns - observation.started_ns)}"
    for name in ("status_message", "model", "model_parameters", "usage", "cost", "metadata", "input", "output"):
        value = getattr(observation, name)
        if value not in (None, {}, ""):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
            yield f"{name}:\n{text}" if "\n" in text or len(text) > 100 else f"{name}: {text}"
    for child in observation.children[:20]:
        yield f"below: {step_line(child)}"


def pair_line(pair: StepPair, rules: VolatileParts) -> str:
    """Return the differences at one place of two sessions that are compared by *rules*."""
    step = pair.left or pair.right
    where = f"turn {pair.turn}, step {pair.number}: {pair.kind} {step.label if step is not None else ''}"
    if pair.kind != "changed":
        return where
    texts = [
        f"{aspect} a {one_line(left)[:100]!r}, b {one_line(right)[:100]!r}"
        for aspect, left, right in contrasts_of(pair, rules, BEFORE)
    ]
    return f"{where} ({', '.join(pair.differs)}): {'; '.join(texts)}"


def around(observation: Observed, text: str) -> str:
    """Return an excerpt of an observation around a text."""
    for value in (observation.status_message, observation.output, observation.input, observation.metadata):
        line = one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        place = line.casefold().find(text.casefold())
        if place >= 0:
            return line[max(place - 60, 0) : place + len(text) + 60]
    return ""


def one_line(text: str) -> str:
    """Return the beginning of a text on one line."""
    return " ".join(text[: LINE_CHARACTERS * 8].split())

"""Sessions as plain values, for `--json`. Times are ISO 8601 in UTC, durations are in seconds."""

from __future__ import annotations

from typing import Any

from ..encoding.attributes import iso
from ..reading.archive import Archive, SessionSummary
from ..reading.conversation import conversation_of
from ..reading.problems import Problem, problems_of
from ..reading.replay import Observed, Trace
from ..reading.totals import Totals, totals_of


def summary_of(summary: SessionSummary) -> dict[str, Any]:
    """Return the summary of one session."""
    return {
        "session_id": summary.session_id,
        "users": list(summary.users),
        "traces": summary.traces,
        "observations": summary.observations,
        "still_open": summary.still_open,
        **_times(summary.started_ns, summary.ended_ns),
        **_sums(summary.totals),
        "scores": [{**score._asdict(), "at": iso(score.at_ns)} for score in summary.scores],
    }


def session_of(archive: Archive, session_id: str | None) -> dict[str, Any]:
    """Return one session with its traces, in the order of their starts."""
    summary = archive.session(session_id)
    facts = summary_of(summary) if summary is not None else {"session_id": session_id}
    origin = archive.origin(session_id)
    if origin is not None:
        facts = {**facts, **origin._asdict()}
    return {"scores": [], **facts, "traces": [trace_of(trace) for trace in archive.traces(session_id)]}


def trace_of(trace: Trace) -> dict[str, Any]:
    """Return one trace with its observations in one list, parents before their children.

    Not nested: traces may be deeper than readers of JSON go.
    """
    waiting = [(root, 0) for root in reversed(trace.roots)]
    listed: list[dict[str, Any]] = []
    while waiting:
        observation, depth = waiting.pop()
        listed.append({**observation_of(observation), "depth": depth})
        waiting.extend((child, depth + 1) for child in reversed(observation.children))
    return {
        "id": trace.id,
        "name": trace.name,
        **_times(trace.started_ns, trace.ended_ns),
        **_sums(totals_of(trace.observations)),
        "conversation": [utterance._asdict() for utterance in conversation_of(trace)],
        "problems": [problem_of(problem) for problem in problems_of(trace)],
        "observations": listed,
    }


def problem_of(problem: Problem) -> dict[str, Any]:
    """Return one problem."""
    return {
        "kind": problem.kind,
        "message": problem.message,
        "outcome": problem.outcome or None,
        "times": problem.times,
        "trace_id": problem.observation.trace_id,
        "observation_id": problem.observation.id,
        "path": [each.label for each in (*problem.chain, problem.observation)],
    }


def observation_of(observation: Observed) -> dict[str, Any]:
    """Return one observation, without those below it."""
    return {
        "id": observation.id,
        "trace_id": observation.trace_id,
        "parent_id": observation.parent_id,
        "type": observation.type,
        "name": observation.name,
        "session_id": observation.session_id,
        "user_id": observation.user_id,
        "level": observation.level,
        "status_message": observation.status_message,
        "finished": observation.finished,
        **_times(observation.started_ns, observation.ended_ns),
        "input": observation.input,
        "output": observation.output,
        "metadata": observation.metadata,
        "model": observation.model,
        "model_parameters": observation.model_parameters,
        "usage": observation.usage,
        "cost": observation.cost,
        "first_token": observation.first_token,
    }


def _times(started_ns: int, ended_ns: int) -> dict[str, Any]:
    return {
        "started": iso(started_ns),
        "ended": iso(ended_ns),
        "duration_s": round((ended_ns - started_ns) / 1e9, 6),
    }


def _sums(totals: Totals) -> dict[str, Any]:
    return {
        "tokens": {"input": totals.tokens_in, "output": totals.tokens_out, "total": totals.tokens},
        "cost_usd": totals.cost_usd,
        "cost_computed": totals.cost_computed,
        "cost_partial": totals.cost_partial,
        "errors": totals.errors,
    }

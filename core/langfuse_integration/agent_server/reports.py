"""What the tools answer: sessions, one session, one step, a search, a comparison, the doctor's findings."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple

from ..diagnosis import examine
from ..presentation import clock, counted, dollars, duration, score_value, title_of
from ..reading.archive import Archive, SessionSummary
from ..reading.comparison import Comparison
from ..reading.conversation import conversation_of
from ..reading.folding import FoldedSteps, folded
from ..reading.problems import KINDS, Problem, problems_of
from ..reading.replay import Observed, Trace
from ..reading.times import since_ns
from ..reading.totals import own
from .budget import DEFAULT_TOKENS, HITS_LIMIT, SESSIONS_LIMIT, Page
from .handles import UnknownHandle, session_of, step_of
from .lines import (
    LINE_CHARACTERS,
    around,
    details,
    one_line,
    pair_line,
    problem_line,
    problem_values,
    session_line,
    step_line,
)

PROBLEMS_LISTED = 12
SCORES_LISTED = 10
SLOW_SHOWN = 3
COSTLY_SHOWN = 2


class Report(NamedTuple):
    """An answer: recorded text, remarks of ours, and the same as values.

    Attributes:
        text: recorded text, to be fenced.
        remarks: where to read on.
        values: handles and figures, for programs.
    """

    text: str
    remarks: str
    values: dict[str, Any]


class SessionQuery(NamedTuple):
    """The conditions that `find_sessions` takes."""

    text: str | None = None
    user: str | None = None
    failed: bool = False
    since: str | None = None
    limit: int = 20


def find_sessions(archive: Archive, query: SessionQuery) -> Report:
    """Return the newest matching sessions, one line each."""
    limit = min(query.limit, SESSIONS_LIMIT)
    summaries = archive.sessions(
        user=query.user,
        since_ns=since_ns(query.since) if query.since else None,
        text=query.text,
        errors=query.failed,
        limit=limit + 1,
    )
    shown = summaries[:limit]
    untagged = archive.session(None)
    remarks = [] if shown else ["No session matches."]
    if len(summaries) > limit:
        remarks.append("There are more: narrow the search, or raise limit.")
    if untagged is not None:
        remarks.append(f"{counted(untagged.traces, 'trace')} belong to no session: set_session() was not called.")
    return Report(
        "\n".join(session_line(summary) for summary in shown),
        " ".join(remarks),
        {
            "sessions": [
                {
                    "session_id": summary.session_id,
                    "users": list(summary.users),
                    "traces": summary.traces,
                    "steps": summary.observations,
                    "errors": summary.totals.errors,
                }
                for summary in shown
            ]
        },
    )


def read_session(
    archive: Archive, session_id: str, budget_tokens: int = DEFAULT_TOKENS, turn: int | None = None
) -> Report:
    """Return a session: what went wrong first, then the turns with what was said and done.

    Args:
        turn: begin with this turn, from 1 on.
    """
    summary = session_of(archive, session_id)
    page = Page(budget_tokens)
    page.add(session_line(summary), LINE_CHARACTERS)
    for score in archive.scores(summary.session_id)[:SCORES_LISTED]:
        subject = f"[{score.span_id}]" if score.span_id else f"trace {score.trace_id}" if score.trace_id else "session"
        value = score_value(score.value, score.data_type)
        page.add(f"SCORE of {subject}: {score.name} {value} {one_line(score.comment or '')}".rstrip(), LINE_CHARACTERS)
    listed = _problems_first(archive, summary, page)
    trace_ids = archive.trace_ids(summary.session_id)
    first = turn or 1
    if first > len(trace_ids):
        raise UnknownHandle(f"The session has {counted(len(trace_ids), 'turn')}: there is no turn {first}.")
    read_on = ""
    for number, trace_id in enumerate(trace_ids[first - 1 :], first):
        trace = archive.trace(trace_id, summary.session_id)
        if trace is not None and not _add_turn(page, number, trace):
            read_on = (
                f"Cut in turn {number} of {len(trace_ids)}: read_session(turn={number}) reads on with a larger budget."
            )
            break
    remarks = f"{read_on} read_step(session_id, step) shows a step in full; steps are the ids in brackets.".strip()
    values = {
        "session_id": summary.session_id,
        "turns": len(trace_ids),
        "problems": [problem_values(number, problem) for number, problem in listed],
        "complete": not read_on,
    }
    return Report(str(page), remarks, values)


def read_step(
    archive: Archive, session_id: str, step: str, budget_tokens: int = DEFAULT_TOKENS, offset: int = 0
) -> Report:
    """Return everything that is known of one step.

    Args:
        step: its id, or the beginning of it.
        offset: characters of its details that were read already.
    """
    summary = session_of(archive, session_id)
    number, trace, observation = step_of(archive, summary, step)
    text = "\n".join(details(number, trace, observation))
    if offset >= len(text):
        raise UnknownHandle(f"The step has {len(text):,} characters: there is nothing at offset {offset:,}.")
    page = Page(budget_tokens)
    part = text[offset : offset + page.left - 1]
    end = offset + len(part)
    remarks = "" if end >= len(text) else f"Cut: read_step(step={observation.id!r}, offset={end}) reads on."
    values = {"step": observation.id, "turn": number, "characters": len(text), "next_offset": end if remarks else None}
    return Report(part, remarks, values)


def search(archive: Archive, text: str, session_id: str | None = None, limit: int = 20) -> Report:
    """Return the steps in which a text occurs, newest session first."""
    limit = min(limit, HITS_LIMIT)
    session_ids: list[str | None] = (
        [session_of(archive, session_id).session_id]
        if session_id is not None
        else [summary.session_id for summary in archive.sessions(text=text, limit=SESSIONS_LIMIT)]
    )
    hits: list[Observed] = []
    for each in session_ids:
        hits += archive.find(each, text, limit=limit + 1 - len(hits))
        if len(hits) > limit:
            break
    lines = [f"{hit.session_id}: {step_line(hit)} ... {around(hit, text)}" for hit in hits[:limit]]
    remarks = "Nothing of it is recorded." if not hits else "There are more hits." if len(hits) > limit else ""
    values = {"hits": [{"session_id": hit.session_id, "step": hit.id} for hit in hits[:limit]]}
    return Report("\n".join(line[: 2 * LINE_CHARACTERS] for line in lines), remarks, values)


def compare(archive: Archive, session_a: str, session_b: str, budget_tokens: int = DEFAULT_TOKENS) -> Report:
    """Return the first divergence of two sessions and all other differences."""
    summaries = session_of(archive, session_a), session_of(archive, session_b)
    comparison = Comparison(*(archive.replay(summary.session_id) for summary in summaries))
    page = Page(budget_tokens)
    for mark, summary in zip("ab", summaries, strict=True):
        page.add(f"{mark}: {session_line(summary)}", LINE_CHARACTERS)
    page.add("the steps are the same" if comparison.same_path else "the paths part")
    changes = comparison.changes
    shown = [pair for pair in changes if page.add(pair_line(pair, comparison.rules), 2 * LINE_CHARACTERS)]
    remarks = "" if len(shown) == len(changes) else f"Cut: {len(changes) - len(shown)} more differences."
    first = comparison.first_divergence
    values = {
        "same_path": comparison.same_path,
        "differences": len(changes),
        "first": {"turn": first.turn, "step": first.number, "kind": first.kind} if first is not None else None,
    }
    return Report(str(page), remarks, values)


def diagnose() -> Report:
    """Return the doctor's findings, each with its cure."""
    findings = examine()
    wrong = [finding for finding in findings if finding.wrong]
    lines = [f"{finding.about}: {finding.said} -> {finding.cure}" for finding in wrong]
    remarks = f"{counted(len(wrong), 'thing is', 'things are')} wrong." if wrong else "Nothing is wrong."
    return Report("\n".join(lines), remarks, {"healthy": not wrong, "wrong": len(wrong)})


def _problems_first(archive: Archive, summary: SessionSummary, page: Page) -> list[tuple[int, Problem]]:
    """Add what went wrong in all turns, the gravest first, the slowest and the costliest steps; return the problems."""
    problems: list[tuple[int, Problem]] = []
    slowest: list[tuple[float, int, str]] = []
    costliest: list[tuple[float, int, str]] = []
    for number, trace in enumerate(archive.traces(summary.session_id), 1):
        problems += [(number, problem) for problem in problems_of(trace)]
        times: list[tuple[float, Observed]] = [(each.own_time_ns, each) for each in trace.observations if each.finished]
        slowest = _largest(slowest, times, number, SLOW_SHOWN)
        costs = [(own(each).cost_usd or 0.0, each) for each in trace.observations if each.usage or each.cost]
        costliest = _largest(costliest, [entry for entry in costs if entry[0]], number, COSTLY_SHOWN)
    groups = _grouped(problems)
    page.add(f"WHAT WENT WRONG: {counted(len(problems), 'problem')}" if problems else "WHAT WENT WRONG: nothing found")
    shown = []
    for (number, problem), *others in groups[:PROBLEMS_LISTED]:
        more = f" (and in {counted(len(others), 'other place')})" if others else ""
        if page.add(f"- {problem_line(number, problem)}{more}", LINE_CHARACTERS * 2):
            shown.append((number, problem))
    if len(groups) > len(shown):
        page.add(f"- and {sum(map(len, groups[len(shown) :]))} more")
    page.add("SLOWEST, without the steps below:")
    for own_ns, number, line in slowest:
        page.add(f"- turn {number}: {duration(int(own_ns))} {line}", LINE_CHARACTERS)
    if costliest:
        page.add("COSTLIEST:")
    for cost_usd, number, line in costliest:
        page.add(f"- turn {number}: {dollars(cost_usd)} {line}", LINE_CHARACTERS)
    return shown


def _largest(
    kept: list[tuple[float, int, str]], candidates: list[tuple[float, Observed]], turn: int, count: int
) -> list[tuple[float, int, str]]:
    """Return the *count* largest of what is kept and of a turn's steps; only their lines are kept, not the steps."""
    largest = heapq.nlargest(count, candidates, key=itemgetter(0))
    return heapq.nlargest(count, [*kept, *[(value, turn, step_line(each)) for value, each in largest]])


def _grouped(problems: list[tuple[int, Problem]]) -> list[list[tuple[int, Problem]]]:
    """Return the problems with equal ones together, the gravest first, of equal gravity the rarest first."""
    groups: dict[tuple[str, ...], list[tuple[int, Problem]]] = {}
    for entry in problems:
        problem = entry[1]
        key = (problem.outcome, problem.kind, problem.message, str(title_of(problem.observation)))
        groups.setdefault(key, []).append(entry)
    return sorted(groups.values(), key=_gravity)


def _gravity(group: list[tuple[int, Problem]]) -> tuple[bool, int, int]:
    problem = group[0][1]
    return problem.outcome != "fatal", KINDS.index(problem.kind), len(group)


def _add_turn(page: Page, number: int, trace: Trace) -> bool:
    took = duration(trace.ended_ns - trace.started_ns)
    page.add(f"TURN {number} at {clock(trace.started_ns)}, {took}, {counted(len(trace.observations), 'step')}")
    for utterance in conversation_of(trace):
        page.add(f"{utterance.speaker or utterance.role}: {one_line(utterance.text)}", 2 * LINE_CHARACTERS)
    for depth, node in _in_tree(trace):
        line = f"({node})" if isinstance(node, FoldedSteps) else step_line(node)
        if not page.add(f"{'  ' * min(depth, 8)}{line}", LINE_CHARACTERS):
            break
    return not page.full


def _in_tree(trace: Trace) -> Iterator[tuple[int, Observed | FoldedSteps]]:
    waiting: list[tuple[Observed | FoldedSteps, int]] = [(root, 0) for root in reversed(trace.roots)]
    while waiting:
        node, depth = waiting.pop()
        yield depth, node
        if not isinstance(node, FoldedSteps):
            waiting += [(child, depth + 1) for child in reversed(list(folded(node.children)))]

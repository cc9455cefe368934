"""Checks of recorded observations: sessions, damage, and steps that two tracers recorded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..encoding.row import FORMER_SCOPE, SCOPE
from ..presentation import counted
from ..reading.replay import Observed, request_of
from .installation import Finding, Installation

LOOKED_AT = 5_000
"""How many of the newest observations are decoded."""
OTHER_TRACERS = ("openinference.instrumentation", "opentelemetry.instrumentation")
FRAMEWORKS = ("langchain", "llama_index", "llamaindex", "mcp")
LANGFUSE = "langfuse-sdk"
CALLBACK_TYPES = frozenset({"generation", "tool", "retriever", "agent", "chain"})
NEAR_NS = 50_000_000
"""The largest difference between the starts that two tracers note for the same step, in ns."""


class TracedObservation(NamedTuple):
    """An observation and the tracer that wrote it."""

    scope: str
    observed: Observed


def contents(installation: Installation) -> Iterator[Finding]:
    """Report how many sessions and traces are recorded."""
    current = installation.settings
    if current.mode == "langfuse" and not current.keep_delivered:
        yield Finding(
            "recorded", "What Langfuse has is not looked at here: LANGFUSE_INTEGRATION_KEEP_DELIVERED=1 keeps a copy"
        )
    rows = installation.rows.query("SELECT count(DISTINCT session_id), count(DISTINCT trace_id) FROM spans")
    if rows and rows[0][1] and not rows[0][0]:
        yield Finding(
            "recorded",
            f"None of the {rows[0][1]:,} traces belongs to a session.",
            "Call langfuse_manager.set_session() before anything is traced.",
        )
    elif rows and rows[0][1]:
        yield Finding("recorded", f"{counted(rows[0][0], 'session')}, {counted(rows[0][1], 'trace')}")


def two_tracers(installation: Installation) -> Iterator[Finding]:
    """Report traces in which two tracers recorded the same steps."""
    rows = installation.rows.stream("SELECT body FROM spans ORDER BY id DESC LIMIT :most", {"most": LOOKED_AT})
    traces: dict[str, list[TracedObservation]] = defaultdict(list)
    for (body,) in rows:
        for written in _written(body):
            traces[written.observed.trace_id].append(written)
    doubled: Counter[str] = Counter()
    example: dict[str, str] = {}
    for trace_id, rows_of_trace in traces.items():
        for scope in _twice(rows_of_trace):
            doubled[scope] += 1
            example.setdefault(scope, trace_id)
    for scope, count in doubled.most_common():
        noun = "trace holds" if count == 1 else "traces hold"
        other = "Langfuse's own CallbackHandler" if scope == LANGFUSE else scope
        yield Finding(
            "tracers",
            f"{count:,} {noun} the same steps twice: from this package and from {other} (trace {example[scope]}).",
            f"Remove {other}, or this package's handler and instrument().",
        )


def _twice(written_rows: Iterable[TracedObservation]) -> list[str]:
    """Return the other tracers that recorded the same steps in one trace."""
    ours = [
        written.observed
        for written in written_rows
        if written.scope in (SCOPE, FORMER_SCOPE) and written.observed.type in CALLBACK_TYPES
    ]
    if not ours:
        return []
    scopes: dict[str, None] = {}
    for scope, observed in written_rows:
        foreign = scope.startswith(OTHER_TRACERS) and any(name in scope for name in FRAMEWORKS)
        if foreign or (scope == LANGFUSE and any(_same(observed, observation) for observation in ours)):
            scopes[scope] = None
    return list(scopes)


def _same(one: Observed, other: Observed) -> bool:
    return (
        one.type == other.type
        and one.name == other.name
        and abs(one.started_ns - other.started_ns) < NEAR_NS
        and abs(one.ended_ns - other.ended_ns) < NEAR_NS
    )


def damaged(installation: Installation) -> Iterator[Finding]:
    """Report how many of the newest observations are damaged."""
    rows = installation.rows.stream("SELECT body FROM spans ORDER BY id DESC LIMIT :most", {"most": LOOKED_AT})
    count = sum(request_of(body) is None for (body,) in rows)
    if count:
        noun = "observation is" if count == 1 else "observations are"
        path = installation.settings.journal_path
        yield Finding(
            "recorded",
            f"{count:,} {noun} damaged, and left out of what is shown.",
            f"Check the disk; then push what is whole, and move {path} away: a new one is made.",
        )


def _written(body: bytes) -> Iterator[TracedObservation]:
    request = request_of(body)
    for resource in request.resource_spans if request is not None else ():
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield TracedObservation(scope.scope.name, Observed(span))

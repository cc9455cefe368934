"""The list of sessions: its order, and what each session is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..reading.archive import Archive, SessionSummary
from ..reading.session_words import SessionWords, words_of

SESSIONS_PAGE = 50
SORTED_LIMIT = 1_000
"""The most sessions, the newest, that are put into another order."""
ORDERS: Mapping[str, Callable[[SessionSummary], float]] = {
    "lasted": lambda summary: summary.ended_ns - summary.started_ns,
    "traces": lambda summary: summary.traces,
    "steps": lambda summary: summary.observations,
    "tokens": lambda summary: summary.totals.tokens,
    "cost": lambda summary: summary.totals.cost_usd or 0.0,
    "errors": lambda summary: summary.totals.errors,
}
"""Orders of the list by name, the largest first; any other is the newest first."""


class ListedSession(NamedTuple):
    """A session in the list."""

    summary: SessionSummary
    words: SessionWords


def listed_sessions(archive: Archive, query: Mapping[str, str], page: int) -> tuple[list[ListedSession], bool]:
    """Return a page of the sessions that a query selects, and whether there are more."""
    order = ORDERS.get(query.get("sort", ""))
    first = page * SESSIONS_PAGE
    chosen = archive.sessions(
        text=query.get("q") or None,
        user=query.get("user") or None,
        errors=bool(query.get("errors")),
        limit=SORTED_LIMIT if order is not None else SESSIONS_PAGE + 1,
        offset=0 if order is not None else first,
    )
    if order is not None:
        chosen = sorted(chosen, key=order, reverse=True)[first : first + SESSIONS_PAGE + 1]
    shown = [ListedSession(summary, words_of(archive, summary.session_id)) for summary in chosen[:SESSIONS_PAGE]]
    return shown, len(chosen) > SESSIONS_PAGE

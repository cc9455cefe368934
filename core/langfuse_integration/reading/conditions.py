"""The conditions that choose rows of the journal: of a session, of no session, of a trace."""

from __future__ import annotations

from typing import Any, NamedTuple

_IN_SESSION = (
    "(session_id = :session OR (session_id IS NULL AND trace_id IN "
    "(SELECT trace_id FROM spans WHERE session_id = :session)))"
)
_UNTAGGED = "(session_id IS NULL AND trace_id NOT IN (SELECT trace_id FROM spans WHERE session_id IS NOT NULL))"


class Condition(NamedTuple):
    """A condition in SQL and the values of its parameters."""

    where: str
    values: dict[str, Any]


def of_session(session_id: str | None) -> Condition:
    """Return the condition for a session's rows, or with None for the rows that belong to no session."""
    return Condition(_UNTAGGED, {}) if session_id is None else Condition(_IN_SESSION, {"session": session_id})


def of_trace(trace_id: str, session_id: str | None) -> Condition:
    """Return the condition for a trace's rows; with *session_id* without those of another session."""
    where = "trace_id = :trace" + (" AND (session_id = :session OR session_id IS NULL)" if session_id else "")
    return Condition(where, {"trace": trace_id, "session": session_id})

"""Scores in the journal: of a session, of its traces, of their steps."""

from __future__ import annotations

from typing import NamedTuple

from .conditions import of_session
from .database import JournalFile


class RecordedScore(NamedTuple):
    """A score in the journal.

    Attributes:
        value: a number or text; 1 and 0 where *data_type* is BOOLEAN.
        data_type: NUMERIC, BOOLEAN or CATEGORICAL.
        trace_id, span_id: what was scored; empty where it was the session, or the whole trace.
    """

    name: str
    value: float | str
    data_type: str
    comment: str | None
    trace_id: str
    span_id: str
    at_ns: int


def scores_in(journal: JournalFile, session_id: str | None) -> list[RecordedScore]:
    """Return the scores of a session, of its traces and of their steps, in the order of their creation."""
    columns = journal.columns_of("scores")
    if not columns:
        return []
    where, values = of_session(session_id)
    of_whole = "session_id" if "session_id" in columns else "NULL"
    rows = journal.query(
        "SELECT name, value, data_type, comment, trace_id, span_id, at_ns FROM scores "
        f"WHERE {of_whole} = :scored OR trace_id IN (SELECT trace_id FROM spans WHERE {where}) ORDER BY at_ns",
        {**values, "scored": session_id},
    )
    return [RecordedScore(*row) for row in rows]

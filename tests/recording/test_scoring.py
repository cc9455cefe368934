"""Scores given by the manager: to the trace that runs here, or to the active session."""

from __future__ import annotations

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions


def subjects(sessions: RecordedSessions) -> list[tuple[str, str | None, int]]:
    """Return what was scored: trace (or nothing), session (or None), span."""
    return [(f"{each.trace:032x}" if each.trace else "", each.session_id, each.span) for each in sessions.scores]


def test_inside_of_a_trace_the_trace_is_scored(sessions: RecordedSessions) -> None:
    """The whole trace, not the step around the line; a step has a method of its own."""
    with (
        langfuse_manager.session("s-1"),
        langfuse_manager.trace_span("root") as root,
        langfuse_manager.trace_span("inner") as inner,
    ):
        langfuse_manager.score("helpful", 1, comment="yes")
        inner.score("exact", True)
    assert subjects(sessions) == [(root.trace_id, None, 0), (root.trace_id, None, inner.span)]
    assert [(each.name, each.value, each.comment) for each in sessions.scores] == [
        ("helpful", 1, "yes"),
        ("exact", True, None),
    ]


def test_outside_of_a_trace_the_active_session_is_scored(sessions: RecordedSessions) -> None:
    """Feedback that comes after the answer belongs to the user's own session."""
    for session in ("s-1", "s-2"):
        with langfuse_manager.session(session):
            with langfuse_manager.trace_span("turn"):
                pass
            langfuse_manager.score("thumbs", "up")
    assert subjects(sessions) == [("", "s-1", 0), ("", "s-2", 0)]


def test_a_trace_or_a_session_can_be_named(sessions: RecordedSessions) -> None:
    """What is named wins over what is active."""
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("root") as root:
        langfuse_manager.score("a", 1, session_id="s-9")
    langfuse_manager.score("b", 1, trace_id=root.trace_id)
    assert subjects(sessions) == [("", "s-9", 0), (root.trace_id, None, 0)]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "nothing to score"),
        ({"trace_id": "xyz"}, "no trace id"),
        ({"trace_id": "0" * 32}, "no trace id"),
        ({"session_id": " "}, "session_id"),
        ({"trace_id": "a" * 32, "session_id": "s"}, "not both"),
    ],
)
def test_what_cannot_be_scored_raises(sessions: RecordedSessions, named: dict[str, str], message: str) -> None:
    """A score without an active observation, with invalid ids, or with both ids raises and records nothing."""
    with langfuse_manager.detached(), pytest.raises(ValueError, match=message):
        langfuse_manager.score("helpful", 1, **named)
    assert sessions.scores == []

"""`score`, and where scores are shown."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Lfi, assert_safe, record_turn, settle
from langfuse_integration import langfuse_manager
from langfuse_integration.agent_server.lines import session_line
from langfuse_integration.reading.archive import Archive


def given(journal: Path, session_id: str) -> list[tuple[object, ...]]:
    """Return the scores of a session, without ids and times."""
    with Archive(journal) as archive:
        return [(each.name, each.value, each.data_type, each.comment) for each in archive.scores(session_id)]


def test_a_session_is_scored_from_the_command_line(lfi: Lfi, journal: Path) -> None:
    """Numbers, yes and no, and categories have Langfuse's types; another session has none of them."""
    record_turn("chat-1", "ada")
    record_turn("other", "bob")
    settle()
    assert lfi.ok("score", "chat", "helpful", "1", "--comment", "to the point") == "helpful 1 given to chat-1.\n"
    lfi.ok("score", "chat-1", "polite", "yes")
    lfi.ok("score", "chat-1", "tone", "warm", "--turn", "1")
    assert given(journal, "chat-1") == [
        ("helpful", 1.0, "NUMERIC", "to the point"),
        ("polite", 1.0, "BOOLEAN", None),
        ("tone", "warm", "CATEGORICAL", None),
    ]
    assert given(journal, "other") == []
    text = lfi.ok("show", "chat-1")
    assert_safe(text)
    assert "score helpful 1: to the point\nscore polite yes\nscore tone warm (trace " in text
    session = json.loads(lfi.ok("show", "chat-1", "--json"))
    assert [(each["name"], bool(each["trace_id"])) for each in session["scores"]] == [
        ("helpful", False),
        ("polite", False),
        ("tone", True),
    ]


def test_what_cannot_be_scored_is_said(lfi: Lfi) -> None:
    """An unknown session, and a turn that is not there: exit code 1 and a sentence."""
    record_turn("chat-1")
    settle()
    assert "No session nowhere" in lfi("score", "nowhere", "helpful", "1").stderr
    done = lfi("score", "chat-1", "helpful", "1", "--turn", "2")
    assert (done.returncode, done.stderr) == (1, "There is no turn 2: the last one is 1.\n")
    done = lfi("score", "chat-1", "helpful", "1", LANGFUSE_TRACING_ENABLED="false")
    assert (done.returncode, "switched off" in done.stderr) == (1, True)


def test_scores_go_with_their_session(lfi: Lfi, journal: Path) -> None:
    """prune removes the scores of a session with it, and leaves those of another one."""
    for session in ("gone", "kept"):
        record_turn(session)
        with langfuse_manager.session(session):
            langfuse_manager.score("helpful", 1)
    settle()
    lfi.ok("prune", "--session", "gone", "--yes")
    assert given(journal, "gone") == []
    assert len(given(journal, "kept")) == 1


def test_scores_are_in_every_list(lfi: Lfi, journal: Path) -> None:
    """The newest scores stand in the list of sessions, in its JSON and in what a coding agent reads."""
    record_turn("chat-1", "ada")
    record_turn("other", "bob")
    settle()
    lfi.ok("score", "chat-1", "helpful", "1")
    header, *rows = lfi.ok("sessions", COLUMNS="140").splitlines()
    assert "SCORES" in header
    assert ["helpful 1" in row for row in rows] == [row.startswith("chat-1") for row in rows]
    listed = json.loads(lfi.ok("sessions", "--json"))
    assert {each["session_id"]: [score["name"] for score in each["scores"]] for each in listed} == {
        "chat-1": ["helpful"],
        "other": [],
    }
    with Archive(journal) as archive:
        assert "scored helpful 1" in session_line(archive.session("chat-1"))

"""`prune`: sessions leave the journal for good."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from commands import COMMAND, Lfi, record_turn, settle
from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.waiting import until


def sessions(lfi: Lfi) -> list[str]:
    """Return the sessions in the journal."""
    return [found["session_id"] for found in json.loads(lfi.ok("sessions", "--json"))]


def test_a_session_goes_and_the_others_stay(lfi: Lfi) -> None:
    """--session removes that one, says how much it was, and a second time there is nothing."""
    record_turn("chat-1")
    record_turn("chat-2")
    settle()
    assert lfi.ok("prune", "--session", "chat-1", "--yes") == "4 observations of 1 session removed.\n"
    assert sessions(lfi) == ["chat-2"]
    assert lfi("prune", "--session", "chat-1", "--yes").returncode == 1


def test_a_dry_run_removes_nothing(lfi: Lfi) -> None:
    """--dry-run says how much it would be."""
    record_turn("chat-1")
    settle()
    assert lfi.ok("prune", "--all", "--dry-run") == "4 observations of 1 session would be removed.\n"
    assert sessions(lfi) == ["chat-1"]


def test_age_decides(lfi: Lfi) -> None:
    """--older-than removes what ended before; what is younger stays."""
    record_turn("old")
    settle()
    time.sleep(1.1)
    record_turn("new")
    settle()
    assert lfi.ok("prune", "--older-than", "1h", "--yes") == "Nothing matches.\n"
    assert lfi.ok("prune", "--older-than", "1s", "--session", "old", "--yes").startswith("4 observations")
    assert sessions(lfi) == ["new"]


def test_nobody_to_ask_means_no(lfi: Lfi) -> None:
    """Without a terminal and without --yes nothing goes: exit code 2."""
    record_turn("chat-1")
    settle()
    done = lfi("prune", "--all")
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    assert sessions(lfi) == ["chat-1"]


def test_in_a_terminal_it_asks(lfi: Lfi) -> None:
    """An answer of no leaves everything, yes removes it."""
    record_turn("chat-1")
    settle()
    for answer, code, left in ((b"n\n", 1, ["chat-1"]), (b"y\n", 0, [])):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer)
            done = subprocess.run(
                [*COMMAND, "prune", "--all"],
                stdin=theirs,
                capture_output=True,
                env=lfi.environment(),
                encoding="utf-8",
                timeout=60,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert done.returncode == code
        assert "Remove 4 observations of 1 session from" in done.stdout + done.stderr
        assert sessions(lfi) == left


def test_without_a_journal_there_is_nothing_to_remove(lfi: Lfi, journal: Path) -> None:
    """No file: exit code 0, a sentence, and no file is made."""
    done = lfi("prune", "--all", "--yes")
    assert (done.returncode, done.stderr) == (0, "There is no journal, so there is nothing to remove.\n")
    assert not journal.exists()


def test_what_langfuse_is_still_to_get_is_kept(lfi: Lfi, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was recorded for Langfuse and waits goes only with --undelivered; whoever recorded it knows it is lost."""
    receiver.always(status(503))
    for name, value in receiver.environment().items():
        monkeypatch.setenv(name, value)
    record_turn("chat-1")
    assert langfuse_manager.flush(0.5).pending == 4
    kept = lfi("prune", "--all", "--yes")
    assert (kept.returncode, kept.stdout) == (0, "Nothing matches.\n")
    assert kept.stderr == "4 observations not yet delivered will stay: --undelivered removes that, too.\n"
    assert sessions(lfi) == ["chat-1"]
    assert lfi.ok("prune", "--all", "--undelivered", "--yes") == "4 observations of 1 session removed.\n"
    assert sessions(lfi) == []
    until(lambda: langfuse_manager.flush(0.2) == (0, 0, 4), what="the loss to be told")


def test_scores_go_with_their_trace(lfi: Lfi, journal: Path) -> None:
    """What belongs to a trace goes with the last of its observations; that of other traces stays."""
    for session in ("chat-1", "chat-2"):
        with langfuse_manager.session(session), langfuse_manager.trace_span("scored") as span:
            span.score("helpful", 1)
    settle()
    until(lambda: scores(journal) == 2, what="both scores")
    lfi.ok("prune", "--session", "chat-1", "--yes")
    assert scores(journal) == 1


def scores(journal: Path) -> int:
    """Return how many scores are in the journal."""
    with closing(sqlite3.connect(journal)) as db, db:
        return int(db.execute("SELECT count(*) FROM scores").fetchone()[0])


def test_the_room_is_given_back(lfi: Lfi, journal: Path) -> None:
    """After removing nearly everything the file is a fraction of what it was."""
    for number in range(300):
        with langfuse_manager.session("large"), langfuse_manager.trace_span("large", input="x" * 10_000 + str(number)):
            pass
    record_turn("small")
    settle()
    langfuse_manager.flush(5)
    lfi.ok("prune", "--session", "large", "--yes")
    tracing.recorder.close(5)
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert journal.stat().st_size < 500_000
    assert sessions(lfi) == ["small"]


def test_an_application_that_runs_goes_on_recording(lfi: Lfi) -> None:
    """What is removed while a process has the journal open does not disturb it."""
    record_turn("chat-1")
    settle()
    lfi.ok("prune", "--all", "--yes")
    record_turn("chat-2")
    settle()
    assert sessions(lfi) == ["chat-2"]
    assert langfuse_manager.flush(5).lost == 0

"""`prune`: sessions leave the journal for good."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path

from commands import COMMAND, Lfi, asked, settle
from langfuse_integration import langfuse_manager
from peers.otlp import Receiver


def sessions(lfi: Lfi) -> list[str]:
    """Return the sessions in the journal."""
    return [found["session_id"] for found in json.loads(lfi.ok("sessions", "--json"))]


def test_a_session_goes_and_the_others_stay(lfi: Lfi) -> None:
    """--session removes that one, says how much it was, and a second time there is nothing."""
    asked("chat-1")
    asked("chat-2")
    settle()
    assert lfi.ok("prune", "--session", "chat-1", "--yes") == "4 observations of 1 session removed.\n"
    assert sessions(lfi) == ["chat-2"]
    assert lfi("prune", "--session", "chat-1", "--yes").returncode == 1


def test_a_dry_run_removes_nothing(lfi: Lfi) -> None:
    """--dry-run says how much it would be."""
    asked("chat-1")
    settle()
    assert lfi.ok("prune", "--all", "--dry-run") == "4 observations of 1 session would be removed.\n"
    assert sessions(lfi) == ["chat-1"]


def test_age_decides(lfi: Lfi) -> None:
    """--older-than removes what ended before; what is younger stays."""
    asked("old")
    settle()
    time.sleep(1.1)
    asked("new")
    settle()
    assert lfi.ok("prune", "--older-than", "1h", "--yes") == "Nothing is to be removed.\n"
    assert lfi.ok("prune", "--older-than", "1s", "--session", "old", "--yes").startswith("4 observations")
    assert sessions(lfi) == ["new"]


def test_nobody_to_ask_means_no(lfi: Lfi) -> None:
    """Without a terminal and without --yes nothing goes: exit code 2."""
    asked("chat-1")
    settle()
    done = lfi("prune", "--all")
    assert done.returncode == 2
    assert "add --yes" in done.stderr
    assert sessions(lfi) == ["chat-1"]


def test_in_a_terminal_it_asks(lfi: Lfi) -> None:
    """An answer of no leaves everything, yes removes it."""
    asked("chat-1")
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


def test_what_langfuse_is_still_to_get_is_kept(lfi: Lfi, receiver: Receiver) -> None:
    """With keys, what waits for delivery goes only with --undelivered."""
    asked("chat-1")
    settle()
    keys = receiver.environment()
    assert lfi.ok("prune", "--all", "--yes", **keys) == "Nothing is to be removed.\n"
    assert lfi.ok("prune", "--all", "--undelivered", "--yes", **keys) == "4 observations of 1 session removed.\n"
    assert sessions(lfi) == []


def test_an_application_that_runs_goes_on_recording(lfi: Lfi) -> None:
    """What is removed while a process has the journal open does not disturb it."""
    asked("chat-1")
    settle()
    lfi.ok("prune", "--all", "--yes")
    asked("chat-2")
    settle()
    assert sessions(lfi) == ["chat-2"]
    assert langfuse_manager.flush(5).lost == 0

"""The command: nothing wrong in a healthy installation, exit code 1 otherwise."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from commands import Lfi, assert_safe, record_turn, settle
from fresh import run_fresh
from langfuse_integration import Session
from peers.otlp import Receiver
from viewer.sample import Book, guarding, record


def in_one_line(text: str) -> str:
    """Return output without its line breaks."""
    return " ".join(text.split())


def test_a_healthy_installation_has_nothing_wrong(receiver: Receiver, journal: Path) -> None:
    """Keys that are taken, sessions set early, one user each, everything delivered: exit code 0, and no key in full."""
    secret = "sk-lf-0123-secret-4567"
    receiver.close()
    with Receiver("pk-lf-0123-public-4567", secret) as langfuse:
        environment = {**langfuse.environment(), "LANGFUSE_INTEGRATION_KEEP_DELIVERED": "1"}
        run_fresh(
            f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parents[1])!r})
            from commands import record_turn
            from langfuse_integration import langfuse_manager
            for user in ("ada", "bob"):
                for turn in range(2):
                    record_turn(f"chat-{{user}}", user)
            assert langfuse_manager.flush(20).pending == 0
            """,
            environment,
        )
        done = Lfi()("doctor", **environment)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert_safe(done.stdout)
    assert "wrong  " not in done.stdout
    assert done.stdout.endswith("\nNothing is wrong.\n")
    assert "public pk-lf-...4567, secret sk-lf-...4567" in done.stdout
    assert "0123" not in done.stdout
    assert "Langfuse takes the keys: project Test project" in done.stdout
    assert "journal.sqlite3: 16 observations" in in_one_line(done.stdout)
    assert "2 sessions, 4 traces" in done.stdout


def test_without_keys_and_with_nothing_recorded_nothing_is_wrong(journal: Path) -> None:
    """A new installation: local mode, no journal yet; looking makes none."""
    done = Lfi()("doctor")
    assert done.returncode == 0, done.stdout
    assert "the local journal only (no keys)" in done.stdout
    assert "it is made with the first observation" in in_one_line(done.stdout)
    assert not journal.exists()


def test_what_is_wrong_comes_with_its_cure(journal: Path) -> None:
    """Exit code 1, the finding and the cure, in 80 columns."""
    record(journal)
    done = Lfi()("doctor", LANGFUSE_SAMPLE_RATE="2")
    assert (done.returncode, done.stderr) == (1, "")
    assert_safe(done.stdout)
    lines = done.stdout.splitlines()
    place = lines.index("grouping  wrong  The session session-1 has 2 users (carla,dave): their traces")
    assert lines[place + 1 : place + 4] == [
        "                 are mixed.",
        "                 -> Give every session an id of its own:",
        '                    f"chat-{uuid.uuid4().hex[:8]}".',
    ]
    assert lines[-1] == "2 things are wrong."


def test_programs_get_json(journal: Path) -> None:
    """--json says whether all is well, and every finding in full."""
    record_turn("chat-1", "ada")
    settle()
    well = json.loads(Lfi().ok("doctor", "--json"))
    assert well["healthy"] is True
    assert {finding["wrong"] for finding in well["findings"]} == {False}
    record(journal)
    done = Lfi()("doctor", "--json")
    assert done.returncode == 1
    ill = json.loads(done.stdout)
    assert ill["healthy"] is False
    (finding,) = [finding for finding in ill["findings"] if finding["wrong"]]
    assert finding["about"] == "grouping"
    assert finding["cure"]


def test_strange_names_are_shown_not_obeyed(journal: Path) -> None:
    """Names that hold markup and marks of direction, as spans of others may have, stay text."""
    with Book(journal) as book:
        for user in ("[red]ada", "bob"):
            guarding(book, Session("chat[bold]", user), 0)
    with sqlite3.connect(journal) as db:
        db.execute("UPDATE spans SET user_id = ? WHERE user_id = 'bob'", ("b\u202eob\x1b[31m",))
    db.close()
    done = Lfi()("doctor")
    assert done.returncode == 1
    assert_safe(done.stdout)
    assert r"The session chat[bold] has 2 users ([red]ada,b\u202eob\x1b[31m)" in in_one_line(done.stdout)


def test_a_password_in_an_address_is_not_printed(receiver: Receiver) -> None:
    """No password in the address of Langfuse or Redis is printed, whether the server answers or not."""
    host = receiver.environment()["LANGFUSE_BASE_URL"].removeprefix("http://")
    for address in (f"http://me:langfuse-pass@{host}", "http://me:langfuse-pass@127.0.0.1:9"):
        environment = {**receiver.environment(), "LANGFUSE_BASE_URL": address}
        done = Lfi()("doctor", LANGFUSE_INTEGRATION_STORE="redis://:redis-pass@127.0.0.1:9/0", **environment)
        assert f"Langfuse at http://{address.rpartition('@')[2]}" in in_one_line(done.stdout)
        assert "-pass" not in done.stdout + done.stderr

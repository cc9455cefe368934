"""`python test_session_tracking.py`, as the guide says, with and without keys."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from commands import Lfi, assert_safe
from langfuse_integration.reading.archive import Archive
from peers.misbehaviour import status
from peers.otlp import Receiver

SCRIPT = Path(__file__).parents[2] / "test_session_tracking.py"
RECORDED = 19


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a pipe, to its end."""
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=Lfi.environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


def shown(text: str) -> list[str]:
    """Return where the script says that the sessions appear."""
    return [line.strip() for line in text.partition("Where they appear\n")[2].splitlines()]


@pytest.mark.application
def test_without_keys_the_sessions_are_in_the_journal(lfi: Lfi, journal: Path) -> None:
    """Exit code 0, every check ok, and each command that it names shows a session."""
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert_safe(done.stdout)
    assert "FAILED" not in done.stdout
    assert done.stdout.count("\n  ok ") == 14
    *commands, hint = shown(done.stdout)
    assert len(commands) == 7
    assert hint.startswith("and in Langfuse, once LANGFUSE_PUBLIC_KEY")
    with Archive(journal) as archive:
        assert {f"lfi show {summary.session_id}" for summary in archive.sessions()} == set(commands)
    assert lfi.ok(*commands[1].split()[1:]).startswith(commands[1].split()[2])


@pytest.mark.application
def test_with_keys_the_sessions_are_in_langfuse(receiver: Receiver, journal: Path) -> None:
    """Every observation arrives once, the addresses are those of the project, and the journal is left alone."""
    done = run(**receiver.environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok      Langfuse at http://" in done.stdout
    assert len(receiver.spans) == RECORDED
    assert receiver.doubled() == {}
    prefix = f"{receiver.url}/project/test-project/sessions/"
    addresses = shown(done.stdout)
    assert [address for address in addresses if not address.startswith(prefix)] == []
    arrived = {span.attributes.get("session.id") for span in receiver.spans}
    assert arrived == {address.removeprefix(prefix) for address in addresses} | {None}
    assert not journal.exists()


@pytest.mark.application
def test_a_langfuse_that_refuses_is_a_failed_check(receiver: Receiver) -> None:
    """With wrong keys nothing is acknowledged: exit code 1, and the sentence says of which Langfuse."""
    receiver.always(status(401))
    done = run(**receiver.environment())
    assert done.returncode == 1
    assert "FAILED  Langfuse at" in done.stdout
    assert f"It does not hold that Langfuse at {receiver.url} has acknowledged all of them." in done.stderr


@pytest.mark.application
@pytest.mark.parametrize("mode", ["off", "no journal"])
def test_other_modes_have_their_sentence(mode: str, journal: Path) -> None:
    """Switched off, nothing can be tested: exit code 1. Without a journal it takes one of its own."""
    if mode == "off":
        done = run(LANGFUSE_TRACING_ENABLED="false")
        assert done.returncode == 1
        assert done.stderr.startswith("Tracing is switched off by LANGFUSE_TRACING_ENABLED")
    else:
        done = run(LANGFUSE_INTEGRATION_JOURNAL="off")
        assert (done.returncode, done.stderr) == (0, "")
    assert not journal.exists()


@pytest.mark.application
def test_pytest_may_collect_it(journal: Path) -> None:
    """Under pytest it passes, writes nothing and sends nothing, even with keys that lead nowhere."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(SCRIPT)],
        env=Lfi.environment(LANGFUSE_PUBLIC_KEY="pk", LANGFUSE_SECRET_KEY="sk", LANGFUSE_BASE_URL="http://127.0.0.1:9"),
        cwd=SCRIPT.parent,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert not journal.exists()

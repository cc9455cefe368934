"""Losses and misconfigurations: each is said once in a process, with its cure."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from applications import run
from export.rows import record
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.internals import faults
from langfuse_integration.journal import backend, storage
from langfuse_integration.recording import tracing
from peers.backend import Backend
from peers.misbehaviour import poison
from peers.otlp import Receiver
from peers.waiting import until


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [found.getMessage() for found in caplog.records if found.levelname == "WARNING"]


def record_until_lost(reason: str) -> None:
    """Record rows of 10 KB until some are lost for *reason*, and some more."""
    for _ in range(2):
        lost = langfuse_manager.stats.lost

        def one_more_is_lost() -> bool:
            with langfuse_manager.trace_span("row", input=secrets.token_hex(5_000)):
                pass
            langfuse_manager.flush(0.05)
            return langfuse_manager.stats.lost > lost  # noqa: B023

        until(one_more_is_lost)
    assert langfuse_manager.stats.reasons.keys() == {reason}


@pytest.mark.parametrize(
    ("variable", "settings"),
    [
        ("LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES (400000 bytes)", {"journal_max_bytes": 400_000}),
        ("LANGFUSE_INTEGRATION_JOURNAL_MAX_AGE_S (0.2 s)", {"journal_max_age_s": 0.2}),
    ],
)
def test_what_the_limits_of_the_journal_remove(
    langfuse: Receiver,
    journal: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    settings: dict[str, Any],
) -> None:
    """One warning names the variable to raise; what Langfuse does not have is counted as lost."""
    monkeypatch.setattr(storage, "RETENTION_S", 0.0)
    configure(**settings)
    langfuse.always(poison("row"))  # refused rows are kept
    langfuse.refuse()
    record_until_lost("journal full")
    (warning,) = [each for each in warnings_of(caplog) if "does not accept" not in each]
    assert f"The journal {journal} has reached {variable}" in warning
    assert "Raise it, or deliver earlier with `langfuse-integration push`" in warning


def test_what_the_limit_of_memory_removes(
    langfuse: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning names the variable for a file; no variable raises what may wait in memory."""
    monkeypatch.setattr(backend, "MEMORY_BYTES", 400_000)
    configure(journal="off")
    langfuse.refuse()
    record_until_lost("memory full")
    (warning,) = [each for each in warnings_of(caplog) if "does not accept" not in each]
    assert "What waits in memory has reached its limit (400000 bytes)" in warning
    assert "Set LANGFUSE_INTEGRATION_JOURNAL to a file" in warning
    assert "MAX_BYTES" not in warning


def test_rows_that_langfuse_refuses(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Rows that are set aside are said once for each reason, with the command that counts them."""
    langfuse.always(poison("bad"))
    record("bad", "good", "bad")
    assert langfuse_manager.flush(30) == (1, 0, 2)
    record("bad")
    assert langfuse_manager.flush(30) == (1, 0, 3)
    (warning,) = warnings_of(caplog)
    assert "Langfuse has refused an observation (HTTP 400" in warning
    assert "set aside in the journal" in warning
    assert "`langfuse-integration doctor` counts them" in warning


def test_payloads_and_rows_that_nobody_writes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the application records faster than rows are written, lost payloads and lost rows are said, each once."""
    recorder = tracing.recorder
    monkeypatch.setattr(recorder, "limit", 40)
    monkeypatch.setattr(recorder, "_half", 20)
    monkeypatch.setattr(recorder, "_full", 20)
    monkeypatch.setattr(recorder, "_start", lambda: None)  # no worker
    record(*map(str, range(60)))
    assert recorder.dropped == 20
    payloads, rows = warnings_of(caplog)
    assert "the oldest are recorded without their inputs and outputs" in payloads
    assert "40 observations wait to be written: new ones are dropped" in rows
    assert all("LANGFUSE_SAMPLE_RATE" in each for each in (payloads, rows))
    for queue in recorder.queues():  # nothing is left that the end of the test would wait for
        queue.clear()
    recorder.dropped = 0


# -- keys

MISSING = "Langfuse's SDK is in use, but LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"


def test_missing_keys_beside_the_sdk(journal: Path) -> None:
    """An application with Langfuse's SDK and no keys is told at its end where its rows are, and what to set."""
    code = """
        import langfuse
        for number in range(3):
            with langfuse_manager.trace_span("row"):
                pass
            langfuse_manager.flush(20)
    """
    run(code, journal, logged=f"{MISSING}: observations stay in the local journal ({journal}). Set both")


def test_missing_keys_of_a_server_are_said_while_it_runs(journal: Path) -> None:
    """A process that does not end is told some seconds after its first rows."""
    code = """
        import langfuse
        from langfuse_integration.export import local_only
        local_only.GRACE_S = 0.1
        stderr, sys.stderr = sys.stderr, sys.stdout
        for number in range(3):
            with langfuse_manager.trace_span("row"):
                pass
            langfuse_manager.flush(20)
            time.sleep(0.2)
        print("still running")
    """
    said, running = run(code, journal).splitlines()
    assert said.startswith(MISSING)
    assert running == "still running"


KEYS = "public_key='PUBLIC', secret_key='SECRET', base_url='URL'"
LATER = """
with langfuse_manager.trace_span("later"):
    pass
langfuse_manager.flush(20)
"""


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        (LATER, {}),
        pytest.param(f"import langfuse\n{LATER}", {"LANGFUSE_TRACING_ENABLED": "false"}, marks=pytest.mark.slow),
        (
            f"import langfuse\nlangfuse.Langfuse({KEYS}, timeout=30)\n{LATER}",
            {},
        ),
        pytest.param(
            f"configure({KEYS})\nimport langfuse\n{LATER}",
            {},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["no-sdk", "off", "keys-in-code", "configured"],
)
def test_keys_that_are_not_missed(receiver: Receiver, journal: Path, code: str, environment: dict[str, str]) -> None:
    """Without the SDK, with keys in code, also after the first rows, or switched off, nobody is asked for keys."""
    for name, value in (("PUBLIC", receiver.public_key), ("SECRET", receiver.secret_key), ("URL", receiver.url)):
        code = code.replace(name, value)
    first = 'with langfuse_manager.trace_span("first"):\n    pass\nlangfuse_manager.flush(20)\n'
    run(first + code, journal, environment=environment)


@pytest.mark.slow
def test_keys_are_not_missed_where_another_server_gets_the_rows(journal: Path) -> None:
    """An application that sends to another server by choice is not asked for Langfuse's keys."""
    with Backend() as backend_server:
        run(
            f"import langfuse\n{LATER}", journal, environment={"LANGFUSE_INTEGRATION_OTLP_ENDPOINT": backend_server.url}
        )


def test_half_of_the_keys_are_said_alone(journal: Path) -> None:
    """One message is enough: the missing key is named, and not once more as both."""
    code = """
        import langfuse
        with langfuse_manager.trace_span("row"):
            pass
    """
    logged = "LANGFUSE_PUBLIC_KEY is set but LANGFUSE_SECRET_KEY is not: nothing is sent to Langfuse"
    run(code, journal, logged=logged, environment={"LANGFUSE_PUBLIC_KEY": "pk-lf-1"})


# -- not too often, and never too seldom


def test_many_messages_of_one_kind_do_not_silence_another(caplog: pytest.LogCaptureFixture) -> None:
    """A kind of message that has a text for each session is limited; others are said all the same."""
    for number in range(1_000):
        faults.warn_once(f"owner session-{number}", "session %d is mixed", number)
    faults.warn_once("journal", "the journal cannot be used")
    said = warnings_of(caplog)
    assert len(said) == 257
    assert said[-1] == "the journal cannot be used"

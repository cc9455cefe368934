"""Settings that say "for ever", or as good as that: nothing stops, and everything arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from applications import run
from langfuse_integration import langfuse_manager
from peers.otlp import Receiver

ENDLESS = ("inf", "1e12", "1" + "0" * 30)


@pytest.mark.parametrize("value", ENDLESS)
def test_waits_without_an_end_are_waits(receiver: Receiver, journal: Path, value: str) -> None:
    """Locks and sockets refuse such numbers: no thread ends by that, and neither does the exit wait."""
    names = ("LANGFUSE_TIMEOUT", "LANGFUSE_FLUSH_INTERVAL", "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S")
    code = """
        with langfuse_manager.trace_span("first"):
            pass
        print(*langfuse_manager.flush(20))
        with langfuse_manager.trace_span("second"):
            pass
    """
    assert run(code, journal, receiver, environment=dict.fromkeys(names, value)) == "1 0 0\n"
    assert [span.name for span in receiver.spans] == ["first", "second"]


@pytest.mark.parametrize("value", ENDLESS)
def test_a_journal_that_keeps_everything_has_a_size(journal: Path, value: str) -> None:
    """Without an age the caps still hold: the newest sessions stay."""
    code = """
        for number in range(200):
            text = os.urandom(4000).hex()
            with langfuse_manager.session(f"s-{number}"), langfuse_manager.trace_span("span", input=text):
                pass
        result = langfuse_manager.flush(20)
        assert 0 < result.delivered < 200 == result.delivered + result.lost, result
    """
    environment = {
        "LANGFUSE_INTEGRATION_JOURNAL_MAX_AGE_S": value,
        "LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES": "500000",
    }
    run(code, journal, None, environment=environment, logged="LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES")


@pytest.mark.parametrize("timeout_s", [float(value) for value in ENDLESS])
def test_a_flush_may_wait_for_ever(langfuse: Receiver, timeout_s: float) -> None:
    """Such a flush returns when everything is delivered, and never raises."""
    with langfuse_manager.trace_span("query"):
        pass
    assert langfuse_manager.flush(timeout_s) == (1, 0, 0)
    assert [span.name for span in langfuse.spans] == ["query"]

"""Environments that are frozen between invocations, as those of AWS Lambda: a real process, stopped and continued."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from applications import application
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.waiting import until
from wrong_clock import WrongClock

HANDLER = """
def handler(chat):
    with langfuse_manager.session(chat):
        try:
            with langfuse_manager.trace_span(f"invocation of {chat}"):
                pass
        finally:
            print(langfuse_manager.flush(30), flush=True)

for line in sys.stdin:
    handler(line.strip())
"""


def test_an_invocation_s_rows_are_delivered_before_the_freeze(receiver: Receiver, journal: Path) -> None:
    """With `flush` at the end each invocation arrives before the process is frozen, and each freeze is survived."""
    with application(HANDLER, journal, receiver) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            process.stdin.write(f"chat-{number}\n")
            process.stdin.flush()
            assert "pending=0, lost=0" in process.stdout.readline()
            os.kill(process.pid, signal.SIGSTOP)
            assert [(span.name, span.session_id, span.status) for span in receiver.spans] == [
                (f"invocation of chat-{before}", f"chat-{before}", "UNSET") for before in range(number + 1)
            ]
            if number == 2:
                process.kill()  # it is never thawed
            os.kill(process.pid, signal.SIGCONT)
        process.wait(60)
    assert receiver.doubled() == {}


def test_an_outage_during_a_freeze_loses_nothing(receiver: Receiver, journal: Path) -> None:
    """What could not be delivered before a freeze arrives, once, in a later invocation."""
    with application(HANDLER.replace("flush(30)", "flush(0.2)"), journal, receiver) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        receiver.always(status(503))
        process.stdin.write("chat-0\n")
        process.stdin.flush()
        assert "lost=0" in process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        receiver.always(None)
        os.kill(process.pid, signal.SIGCONT)
        process.stdin.write("chat-1\n")
        process.stdin.flush()
        assert "lost=0" in process.stdout.readline()
        until(lambda: len(receiver.spans) >= 2, 60, "both rows")
    assert {span.session_id for span in receiver.spans} == {"chat-0", "chat-1"}
    assert receiver.doubled() == {}


@pytest.mark.application
@pytest.mark.parametrize("days", [-1, 1, 40])
def test_a_clock_that_jumps_during_a_freeze_takes_nothing(
    receiver: Receiver, journal: Path, tmp_path: Path, days: int
) -> None:
    """Rows that waited through a freeze, after which the clock is another, arrive once, each in its session."""
    clock = WrongClock(tmp_path)
    handler = HANDLER.replace("flush(30)", "flush(0.2)")
    with application(handler, journal, receiver, environment=clock.environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        receiver.always(status(503))
        for number, error_days in ((0, days), (1, 0), (2, days)):
            process.stdin.write(f"chat-{number}\n")
            process.stdin.flush()
            assert "lost=0" in process.stdout.readline()
            os.kill(process.pid, signal.SIGSTOP)
            clock.set_by(error_days)
            receiver.always(None if number == 1 else status(503))
            os.kill(process.pid, signal.SIGCONT)
        receiver.always(None)
        until(lambda: len(receiver.spans) >= 3, 60, "all rows")
    assert sorted((span.name, span.session_id, span.status) for span in receiver.spans) == [
        (f"invocation of chat-{number}", f"chat-{number}", "UNSET") for number in range(3)
    ]
    assert all(0 <= span.end_ns - span.start_ns < 60e9 for span in receiver.spans)
    assert receiver.doubled() == {}

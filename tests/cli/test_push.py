"""`push`: from the journal to Langfuse."""

from __future__ import annotations

import os
import pty
import re
import subprocess

import pytest

from commands import COMMAND, Lfi
from langfuse_integration import configure, langfuse_manager, runtime
from peers import misbehaviour
from peers.otlp import Receiver


def recorded(*session_ids: str) -> None:
    """Record two observations in each session, without keys."""
    for session_id in session_ids:
        with langfuse_manager.session(session_id, user_id="ada"), langfuse_manager.trace_span(f"query {session_id}"):
            langfuse_manager.trace_agent_step("think", "in", "out")
    assert langfuse_manager.flush(20).pending == 0


def test_what_was_recorded_without_keys_arrives_once_there_are_some(lfi: Lfi, receiver: Receiver) -> None:
    """Every observation is delivered once, under its session; a second push has nothing left to do."""
    recorded("s-1", "s-2")
    assert lfi.ok("push", **receiver.environment()) == "4 observations delivered.\n"
    assert sorted((span.name, span.attributes["session.id"]) for span in receiver.wait_for(4)) == [
        ("query s-1", "s-1"),
        ("query s-2", "s-2"),
        ("think", "s-1"),
        ("think", "s-2"),
    ]
    assert lfi.ok("push", **receiver.environment()) == "0 observations delivered.\n"
    assert receiver.doubled() == {}


def test_what_was_pushed_can_still_be_looked_at(lfi: Lfi, receiver: Receiver) -> None:
    """What was recorded without keys stays as delivered, with its scores, until it is pruned."""
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("query", input="alpacas?") as span:
        span.score("helpful", True)
    assert langfuse_manager.flush(20).pending == 0
    lfi.ok("push", **receiver.environment())
    assert "alpacas?" in lfi.ok("show", "s-1", "--full")
    assert "helpful" in lfi.ok("show", "s-1", "--full")
    assert lfi.ok("sessions", "--json").count('"s-1"') == 1
    assert lfi.ok("prune", "--delivered", "--yes").startswith("1 observation of 1 session removed")
    assert "s-1" not in lfi.ok("sessions")
    assert len(receiver.spans) == 1


def test_what_was_recorded_for_langfuse_leaves_the_journal(lfi: Lfi, receiver: Receiver) -> None:
    """A backlog of an outage is removed once Langfuse has it, as the process itself would have removed it."""
    configure(public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url)
    receiver.refuse()
    with langfuse_manager.session("s-9"), langfuse_manager.trace_span("query"):
        pass
    assert langfuse_manager.flush(0.1).pending == 1
    runtime.reset()
    receiver.listen()
    assert lfi.ok("push", **receiver.environment()) == "1 observation delivered.\n"
    assert "s-9" not in lfi.ok("sessions")


def test_one_session_goes_alone(lfi: Lfi, receiver: Receiver) -> None:
    """--session delivers that one; the other stays where it is."""
    recorded("s-1", "s-2")
    assert lfi.ok("push", "--session", "s-2", **receiver.environment()) == "2 observations delivered.\n"
    assert {span.attributes["session.id"] for span in receiver.wait_for(2)} == {"s-2"}
    assert "s-1" in lfi.ok("sessions")


def test_what_langfuse_refuses_is_set_aside_and_the_rest_arrives(lfi: Lfi, receiver: Receiver) -> None:
    """A row that rejects its batch is isolated; it is no reason to try again for ever."""
    recorded("s-1", "s-2")
    receiver.always(misbehaviour.poison("query s-1"))
    done = lfi("push", **receiver.environment())
    assert done.stdout == "3 observations delivered.\n"
    assert "1 observation refused by Langfuse" in done.stderr
    assert sorted(span.name for span in receiver.wait_for(3)) == ["query s-2", "think", "think"]


def test_without_keys_or_with_wrong_ones_it_says_so(lfi: Lfi, receiver: Receiver) -> None:
    """Exit code 1 and a sentence; nothing is lost."""
    recorded("s-1")
    done = lfi("push")
    assert done.returncode == 1
    assert "LANGFUSE_PUBLIC_KEY" in done.stderr
    done = lfi("push", **{**receiver.environment(), "LANGFUSE_SECRET_KEY": "sk-lf-wrong"})
    assert done.returncode == 1
    assert "2 observations still waiting." in done.stderr
    assert "sk-lf-wrong" not in done.stderr + done.stdout
    assert lfi.ok("push", **receiver.environment()) == "2 observations delivered.\n"


def batches_of(count: int, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment that sends so many observations at a time to *receiver*."""
    for name, value in {**receiver.environment(), "LANGFUSE_FLUSH_AT": str(count)}.items():
        monkeypatch.setenv(name, value)


def test_broken_off_it_goes_on_where_it_was(lfi: Lfi, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two batches; the next push delivers the rest, of that session only, and nothing twice."""
    recorded(*["s-1"] * 10, "s-2")
    batches_of(4, receiver, monkeypatch)
    receiver.script(misbehaviour.accepted, misbehaviour.accepted, misbehaviour.hang())
    first = lfi.started("push", "--session", "s-1")
    receiver.wait_for_requests(3)
    first.kill()
    first.communicate(timeout=120)
    assert len(receiver.spans) == 8
    assert lfi.ok("push", "--session", "s-1") == "12 observations delivered.\n"
    assert len(receiver.wait_for(20)) == 20
    assert {span.attributes["session.id"] for span in receiver.spans} == {"s-1"}
    assert receiver.doubled() == {}


def test_in_a_terminal_a_bar_shows_how_far_it_is(lfi: Lfi, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar counts up to all of them and goes away; what came of it is all that standard output gets."""
    recorded(*["s-1"] * 6)
    batches_of(4, receiver, monkeypatch)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "push"],
        env=lfi.environment(TERM="xterm-256color"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        encoding="utf-8",
    ) as process:
        os.close(theirs)
        drawn = b"".join(iter(lambda: _read(ours), b"")).decode()
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read() == "12 observations delivered.\n"
    assert process.returncode == 0
    assert re.search(r"pushing ━+ 12/12 ", re.sub(r"\x1b\[[\d;]*m", "", drawn))
    assert drawn.endswith("\x1b[2K")


def _read(terminal: int) -> bytes:
    """Return what was written to a terminal, or nothing once nobody has it open."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""

"""`push`: from the journal to Langfuse."""

from __future__ import annotations

from commands import Lfi
from langfuse_integration import langfuse_manager
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

"""Functions that are frozen after each call, as on AWS Lambda: `flushed` delivers in the call, and keeps no session."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from applications import application
from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.aws_lambda import flushed
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.waiting import until

HANDLER = """
import asyncio
from langfuse_integration.hosts.aws_lambda import flushed

def work(chat):
    if not chat.startswith("nobody"):
        langfuse_manager.set_session(chat)
    with langfuse_manager.trace_span(f"invocation of {chat}"):
        if "error" in chat:
            raise ValueError(chat)

@flushed
def handler(event, context):
    work(event["chat"])

@flushed(timeout_s=30)
async def asynchronous(event, context):
    await asyncio.sleep(0)
    work(event["chat"])

for line in sys.stdin:
    event = {"chat": line.strip()}
    began = time.monotonic()
    try:
        asyncio.run(asynchronous(event, None)) if sys.argv[1] == "async" else handler(event, None)
    except ValueError as error:
        pass
    print(langfuse_manager.current_session_id, time.monotonic() - began, flush=True)
"""
CHATS = ["ada", "nobody-1", "error-of-bob", "nobody-2", "ada"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_invocation_is_delivered_before_the_freeze_in_its_own_session(
    receiver: Receiver, journal: Path, kind: str
) -> None:
    """A process that is stopped after each answer, and never goes on after the last, has delivered all of them."""
    with application(HANDLER.replace("@flushed\n", "@flushed(timeout_s=30)\n"), journal, receiver, kind) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, chat in enumerate(CHATS, 1):
            process.stdin.write(f"{chat}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith("None ")
            os.kill(process.pid, signal.SIGSTOP)
            assert [(span.name, span.session_id) for span in receiver.spans] == [
                (f"invocation of {chat}", None if chat.startswith("nobody") else chat) for chat in CHATS[:number]
            ]
            if number == len(CHATS):
                process.kill()
            os.kill(process.pid, signal.SIGCONT)
        process.wait(60)
    errors = [span.name for span in receiver.spans if span.status == "ERROR"]
    assert errors == ["invocation of error-of-bob"]
    assert receiver.doubled() == {}


def test_an_outage_costs_an_invocation_little_and_loses_nothing(receiver: Receiver, journal: Path) -> None:
    """While Langfuse is down, an answer does not wait for all of the time-out, and its rows arrive in a later one."""
    with application(HANDLER.replace("@flushed\n", "@flushed(timeout_s=300)\n"), journal, receiver, "sync") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        receiver.always(status(503))
        process.stdin.write("ada\n")
        process.stdin.flush()
        _, took_s = process.stdout.readline().split()
        assert float(took_s) < 150
        os.kill(process.pid, signal.SIGSTOP)
        receiver.always(None)
        os.kill(process.pid, signal.SIGCONT)
        process.stdin.write("bob\n")
        process.stdin.flush()
        until(lambda: len(receiver.spans) >= 2, 60, "both rows")
    assert {span.session_id for span in receiver.spans} == {"ada", "bob"}
    assert receiver.doubled() == {}


def test_the_function_is_as_it_was() -> None:
    """Name, arguments, result and error of a handler go through, and the caller's session stays what it was."""

    class Context:
        asked = 0

        def get_remaining_time_in_millis(self) -> int:
            self.asked += 1
            return 250

    @flushed
    def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
        """Answer."""
        assert langfuse_manager.current_session_id is None
        langfuse_manager.set_session(event["chat"])
        if "error" in event:
            raise KeyError(event["error"])
        return {"answer": event["chat"]}

    assert (handler.__name__, handler.__doc__) == ("handler", "Answer.")
    context = Context()
    with langfuse_manager.session("outside"):
        assert handler({"chat": "ada"}, context) == {"answer": "ada"}
        with pytest.raises(KeyError, match="hay"):
            handler({"chat": "ada", "error": "hay"}, context)
        assert langfuse_manager.current_session_id == "outside"
    assert context.asked == 2
    assert asyncio.run(flushed(_answer)({"chat": "bob"})) == "bob"


async def _answer(event: dict[str, Any]) -> str:
    langfuse_manager.set_session(event["chat"])
    return str(langfuse_manager.current_session_id)

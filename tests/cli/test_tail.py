"""`tail`: what is recorded, while it is recorded."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from commands import Lfi, record_turn, settle
from langfuse_integration import langfuse_manager


class Followed:
    """The lines that a running `tail` has written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.put(line.rstrip("\n"))

    def next(self) -> str:
        """Wait for the next line."""
        return self._lines.get(timeout=60)


@contextmanager
def tail(lfi: Lfi, *arguments: str) -> Iterator[Followed]:
    """Run `tail` for the time of the block, then end it as Ctrl-C does."""
    process = lfi.started("tail", *arguments)
    try:
        yield Followed(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait(60)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_what_is_recorded_comes_as_it_ends(lfi: Lfi) -> None:
    """First the last ones of before, then each new observation, under the session that it belongs to."""
    record_turn("before", "bob")
    settle()
    with tail(lfi, "--lines", "1") as followed:
        assert followed.next() == "before  user bob"
        assert " agent    herder " in followed.next()
        assert followed.next() == "          in     What do llamas eat?"
        assert followed.next() == "          out    Hay."
        with langfuse_manager.session("chat-1", "ada"):
            langfuse_manager.trace_mcp_call("llama-mcp", {"query": "hay"}, "found", tool="search")
        assert followed.next() == "chat-1  user ada"
        assert " tool     MCP llama-mcp.search " in followed.next()
        assert followed.next() == '          in     query="hay"'
        assert followed.next() == "          out    found"


def test_a_journal_that_comes_later_is_followed(lfi: Lfi) -> None:
    """`tail` may be started before anything was ever recorded."""
    with tail(lfi, "--json") as followed:
        record_turn("chat-1", "ada")
        settle()
        names = [json.loads(followed.next())["name"] for _ in range(4)]
    assert names == ["ChatModel", "search", "ChatModel", "herder"]


def test_filters_hold_for_what_comes(lfi: Lfi) -> None:
    """`tail` shows only rows of the given session, user and level."""
    record_turn("chat-1", "ada", error="old")
    settle()
    with tail(lfi, "--json", "--errors", "--user", "ada", "--session", "chat") as followed:
        assert json.loads(followed.next())["status_message"] == "old"
        record_turn("chat-2", "bob", error="another user")
        record_turn("other", "ada", error="another session")
        record_turn("chat-2", "ada")
        record_turn("chat-2", "ada", error="wanted")
        found = json.loads(followed.next())
    assert (found["status_message"], found["session_id"], found["user_id"]) == ("wanted", "chat-2", "ada")


def test_without_a_journal_there_is_nothing_to_follow(lfi: Lfi) -> None:
    """A journal that is switched off: exit code 1 and a sentence."""
    done = lfi("tail", LANGFUSE_INTEGRATION_JOURNAL="off")
    assert done.returncode == 1
    assert "The journal is switched off" in done.stderr

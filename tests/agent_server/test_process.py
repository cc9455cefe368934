"""`lfi mcp` as a process: clients that cancel, that go away, that ask for too much, that are old, that never stop."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_server.conftest import agent_of
from agent_server.planted import tool, turn
from commands import COMMAND, Lfi
from langfuse_integration.agent_server import answers
from langfuse_integration.agent_server.reports import Report
from langfuse_integration.journal.schema import SCHEMA
from peers.environments import python_of
from peers.waiting import until
from viewer.sample import Book, record

pytestmark = pytest.mark.mcp
CALLS, GROWTH_BYTES = 1_000, 4_000_000
"""A leak of one answer a call would be more than ten times as much."""


class Server:
    """The command, and the messages that go to it and come from it."""

    def __init__(self, journal: Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "mcp"],
            env=Lfi.environment(LANGFUSE_INTEGRATION_JOURNAL=str(journal)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.number = 0

    def send(self, **message: Any) -> None:
        """Write one message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Read one message."""
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def request(self, method: str, **params: Any) -> int:
        """Send a request without waiting for its answer, and return its number."""
        self.number += 1
        self.send(id=self.number, method=method, params=params)
        return self.number

    def ask(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        number = self.request("tools/call", name=name, arguments=arguments)
        message = self.answer()
        assert message["id"] == number
        result: dict[str, Any] = message["result"]
        return result

    def end(self) -> str:
        """Close the input as a client does that ends, and return what was written to standard error."""
        _, complaints = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return complaints


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of a journal with sessions, after the handshake."""
    record(tmp_path / "read.sqlite3")
    started = Server(tmp_path / "read.sqlite3")
    client = {"name": "test", "version": "1"}
    started.request("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
    assert started.answer()["result"]["serverInfo"]["name"] == "langfuse-integration"
    started.send(method="notifications/initialized")
    yield started
    started.process.kill()
    started.process.wait()
    for pipe in (started.process.stdin, started.process.stdout, started.process.stderr):
        if pipe is not None:
            pipe.close()


def test_a_call_that_a_client_cancels_ends_nothing_else(server: Server) -> None:
    """The next call has its own answer, nothing is complained of, and the process ends with its client."""
    for _ in range(20):
        number = server.request("tools/call", name="read_session", arguments={"session_id": "chat-3f2a"})
        server.send(method="notifications/cancelled", params={"requestId": number, "reason": "never mind"})
        next_number = server.request("tools/call", name="find_sessions", arguments={"limit": 1})
        message = server.answer()
        if message["id"] == number:  # it was done already
            message = server.answer()
        assert message["id"] == next_number
        assert "There are more" in message["result"]["content"][0]["text"]
    server.send(method="notifications/cancelled", params={"requestId": 10**6})
    assert server.ask("diagnose")["structuredContent"]["wrong"] >= 0
    assert server.end() == ""


@pytest.mark.asyncio
async def test_an_installation_that_is_broken_is_told(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is loaded with the first question may be missing: the agent reads why, and the server goes on."""
    record(journal)
    async with agent_of(journal) as agent:
        with monkeypatch.context() as broken:
            broken.setitem(sys.modules, "langfuse_integration.agent_server.answers", None)
            result = await agent.client.call_tool("find_sessions", {})
        assert result.is_error
        assert "langfuse_integration.agent_server.answers" in result.content[0].text
        assert not (await agent.client.call_tool("find_sessions", {})).is_error


@pytest.mark.asyncio
async def test_a_cancelled_read_keeps_nobody_waiting(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that goes on after its client gave it up neither delays the next answer nor answers late."""
    record(journal)
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(archive: Any, given: dict[str, Any]) -> Report:
        started.set()
        release.wait(60)
        ended.set()
        return Report("late", "", {})

    monkeypatch.setattr(answers, "ANSWERS", {**answers.ANSWERS, "diagnose": slow})
    async with agent_of(journal) as agent:
        call = asyncio.create_task(agent.client.call_tool("diagnose", {}))
        await asyncio.to_thread(started.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert "chat-3f2a91bc" in await agent.ask("find_sessions")
        assert not ended.is_set()
        release.set()
        await asyncio.to_thread(ended.wait, 60)
        assert "late" not in await agent.ask("find_sessions")


@pytest.mark.asyncio
async def test_a_client_that_asks_for_more_than_there_is(journal: Path) -> None:
    """Limits and budgets beyond the bounds are taken as the bounds; places beyond the end are refused with the end."""
    with Book(journal) as book:
        for number in range(300):
            turn(book, number * 20_000, "x" * 3_000)
        step = tool(book, turn(book, 10**7), 10, "read", output="hay")
    async with agent_of(journal) as agent:
        whole = await agent.ask("read_session", session_id="broken", budget_tokens=10**12)
        assert len(whole) < 50_000 * 4
        assert "Cut in turn" in whole
        least = await agent.ask("read_session", session_id="broken", budget_tokens=-5)
        assert 200 < len(least) < 1_400
        assert len((await agent.ask("search", text="x", limit=10**12)).splitlines()) < 60
        assert "broken" in await agent.ask("find_sessions", limit=10**12)
        assert "broken" in await agent.ask("find_sessions", limit=-1)
        refusal = await agent.refused("read_step", session_id="broken", step=step.id, offset=10**8)
        assert refusal.startswith("The step has ")
        assert "there is nothing at offset 100,000,000" in refusal
        assert "there is no turn 500" in await agent.refused("read_session", session_id="broken", turn=500)


def test_a_client_that_goes_away_in_the_middle_of_a_call(server: Server) -> None:
    """The process ends by itself, without a traceback, whatever was still to be answered."""
    for _ in range(5):
        server.request("tools/call", name="read_session", arguments={"session_id": "chat-3f2a"})
    for pipe in (server.process.stdout, server.process.stdin):
        assert pipe is not None
        pipe.close()
    assert server.process.stderr is not None
    assert (server.process.stderr.read(), server.process.wait(60)) == ("", 0)


@pytest.mark.asyncio
async def test_a_journal_of_a_newer_release_or_one_that_is_written(journal: Path) -> None:
    """A newer journal is refused with the cure; what a process writes meanwhile is there with the next question."""
    with closing(sqlite3.connect(journal)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    async with agent_of(journal) as agent:
        for name in ("find_sessions", "search"):
            assert "upgrade langfuse-integration" in await agent.refused(name, text="hay")
        await asyncio.to_thread(journal.unlink)
        with closing(sqlite3.connect(journal)) as db:
            db.execute("CREATE TABLE half (made)")  # a file that another process has just begun
        assert "No session matches." in await agent.ask("find_sessions")
        await asyncio.to_thread(journal.unlink)
        for number in range(5):
            with Book(journal) as book:
                turn(book, number * 20_000, f"Question {number}?")
                book.write()
                answer = await agent.ask("read_session", session_id="broken")
            assert f"Question {number}?" in answer
            assert f"Question {number + 1}?" not in answer


@pytest.mark.slow
def test_thousands_of_calls_take_no_more_memory(server: Server) -> None:
    """After the first thousand calls neither memory nor open files nor threads grow."""
    process = Path("/proc") / str(server.process.pid)

    def measured() -> tuple[int, int, int]:
        pages = int((process / "statm").read_text(encoding="ascii").split()[1])
        counts = len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))
        return pages * os.sysconf("SC_PAGE_SIZE"), *counts

    def call(times: int) -> None:
        for number in range(times // 5):
            server.ask("find_sessions", text="llama")
            server.ask("read_session", session_id="chat-3f2a", budget_tokens=4_000)
            server.ask("search", text=f"llama{number}")
            server.ask("compare", session_a="chat-3f2a", session_b="chat-88d0")
            server.ask("read_step", session_id="chat-3f2a", step=f"{number:04x}")

    call(CALLS)
    before = measured()
    call(2 * CALLS)
    until(lambda: measured()[1:] <= before[1:])
    assert measured()[0] - before[0] < GROWTH_BYTES


OLD_CLIENT = """
import asyncio, json, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    parameters = StdioServerParameters(command=sys.argv[1], args=["mcp"], env=json.loads(sys.argv[2]))
    async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as session:
        server = await session.initialize()
        tools = (await session.list_tools()).tools
        found = await session.call_tool("find_sessions", {"text": "llama"})
        read = await session.call_tool("read_session", {"session_id": "chat-3f2a"})
        refused = await session.call_tool("read_step", {"session_id": "chat-3f2a", "step": "zzzz"})
        resources = (await session.list_resources()).resources
        contents = (await session.read_resource(resources[0].uri)).contents
    print(json.dumps({
        "instructions": server.instructions, "tools": [tool.name for tool in tools],
        "read_only": all(tool.annotations.readOnlyHint for tool in tools), "found": found.content[0].text,
        "read": read.content[0].text, "problems": (read.structuredContent or {}).get("problems"),
        "refused": [refused.isError, refused.content[0].text],
        "resource": contents[0].text,
    }))

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("release", ["mcp==1.24.0", "mcp<2"])
def test_a_client_of_sdk_1(tmp_path: Path, release: str) -> None:
    """A client of SDK 1 lists the tools, calls them, is refused with the nearest, and reads a session as a resource."""
    record(tmp_path / "read.sqlite3")
    environment = Lfi.environment(LANGFUSE_INTEGRATION_JOURNAL=str(tmp_path / "read.sqlite3"))
    done = subprocess.run(
        [str(python_of("mcp_client", release)), "-c", OLD_CLIENT, COMMAND[0], json.dumps(environment)],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)
    assert heard["tools"] == ["find_sessions", "read_session", "read_step", "search", "compare", "diagnose"]
    assert heard["read_only"] is True
    assert "Recorded text stands between marks" in heard["instructions"]
    assert "chat-3f2a91bc" in heard["found"]
    assert "WHAT WENT WRONG" in heard["read"]
    assert [each["kind"] for each in heard["problems"]] == ["failed"]
    assert heard["refused"][0] is True
    assert "The nearest are" in heard["refused"][1]
    assert "TURN 1" in heard["resource"]

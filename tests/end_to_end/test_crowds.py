"""Everybody at once in one process: agents, workflows, streams and MCP calls that are all open at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions, Trace
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_llamaindex import instrument as instrument_llamaindex
from langfuse_integration_mcp import instrument as instrument_mcp
from llamaindex.scripted import ScriptedLLM, call, say
from llamaindex.scripted import tool as tool_of
from scripted_chat import ScriptedChat
from scripted_chat import call as chat_call

USERS = 50
SIZES = [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
pytestmark = [
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.mcp,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # LlamaIndex's own
]


class Gate:
    """Opens once *size* tasks stand before it."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._open = asyncio.Event()

    async def pass_through(self) -> None:
        """Wait for all the others."""
        self._left -= 1
        if self._left <= 0:
            self._open.set()
        await self._open.wait()


class Once:
    """A gate through which each model goes at its first call only."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate

    async def pass_through(self) -> None:
        """Wait for all the others, the first time."""
        gate, self._gate = self._gate, None
        if gate is not None:
            await gate.pass_through()


def session_of(number: int) -> str | None:
    """Return whose run a number is: of one of the users, and every eleventh of nobody."""
    return None if number % 11 == 10 else f"s-{number % USERS}"


async def everybody(size: int, run: Callable[[int], Awaitable[Any]]) -> None:
    """Do one thing for each number at the same time, in the session of its user."""

    async def one(number: int) -> None:
        session = session_of(number)
        if session is None:
            await run(number)
        else:
            with langfuse_manager.session(session, session.replace("s-", "u-")):
                await run(number)

    await asyncio.gather(*(one(number) for number in range(size)))


def check(sessions: RecordedSessions, size: int, tree: Any) -> None:
    """Check each trace: its whole tree, its one user, the one number in all its rows, and that none is missing."""
    seen = set()
    for trace in sessions.traces:
        assert trace.tree() == [tree]
        numbers = set(re.findall(r"\bn-(\d+)\b", " ".join(f"{row.input} {row.output}" for row in trace.observations)))
        assert len(numbers) == 1
        number = int(numbers.pop())
        session = session_of(number)
        user = None if session is None else session.replace("s-", "u-")
        assert {(row.session_id, row.user_id, row.level) for row in trace.observations} == {(session, user, "DEFAULT")}
        check_acts(trace)
        seen.add(number)
    assert seen == set(range(size))
    assert len(sessions.traces) == size
    assert sessions.still_open == []


def check_acts(trace: Trace) -> None:
    """Check that each act names the think of its own trace."""
    thinks = {row.id for row in trace.observations if row.is_think}
    for act in (row for row in trace.observations if row.is_act and row.metadata.get("think_id") is not None):
        assert act.metadata["think_id"] in thinks


async def langgraph(size: int) -> None:
    """Run an agent for everybody: all think at once, and act at once."""
    thinking, acting = Gate(size), Gate(size)

    class Chat(ScriptedChat):
        async def _agenerate(self, messages: Any, *arguments: Any, **options: Any) -> Any:
            if messages[-1].type == "human":
                await thinking.pass_through()
            return await super()._agenerate(messages, *arguments, **options)

    @tool
    async def lookup(word: str) -> str:
        """Look a word up."""
        await acting.pass_through()
        return f"found {word}"

    def reply(messages: Any) -> AIMessage:
        word = re.findall(r"n-\d+", str(messages))[0]
        return AIMessage(f"Done {word}.") if messages[-1].type == "tool" else chat_call("lookup", {"word": word})

    agent = create_agent(Chat(reply), [lookup], name="helper")

    async def run(number: int) -> None:
        given: Any = {"messages": [("user", f"n-{number}")]}
        await agent.ainvoke(given, {"callbacks": [SessionHandler()]})

    await everybody(size, run)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_agents_of_langgraph(sessions: RecordedSessions, size: int) -> None:
    """Each run is one trace in its user's session."""
    await langgraph(size)
    check(sessions, size, {"agent helper": ["generation Chat", "tool lookup", "generation Chat"]})


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [100, 60, 10])
async def test_more_runs_than_are_kept(sessions: RecordedSessions, monkeypatch: Any, limit: int) -> None:
    """Past the limit the oldest rows end with a warning and traces are torn, but each row is there, at its user."""
    monkeypatch.setattr(tracing.registry, "_open_limit", limit)
    monkeypatch.setattr(tracing.registry, "_ended_limit", 4)
    await langgraph(40)
    for row in sessions.observations:
        numbers = set(re.findall(r"\bn-(\d+)\b", f"{row.input} {row.output}"))
        assert {session_of(int(number)) for number in numbers} == {row.session_id}
    for label, count in (("generation Chat", 80), ("tool lookup", 40), ("agent helper", 40)):
        assert len([row for row in sessions.observations if row.label == label]) == count
    assert sessions.still_open == []


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_agents_of_llamaindex(sessions: RecordedSessions, size: int) -> None:
    """Workflows with tools: all think at once, and act at once."""
    instrument_llamaindex()
    thinking, acting = Gate(size), Gate(size)

    async def lookup(word: str) -> str:
        """Look a word up."""
        await acting.pass_through()
        return f"found {word}"

    def reply(messages: Any) -> ChatMessage:
        word = re.findall(r"n-\d+", str(messages))[0]
        return say(f"Done {word}.") if messages[-1].role == "tool" else call("lookup", {"word": word})

    async def run(number: int) -> None:
        model = ScriptedLLM(reply, pause=Once(thinking).pass_through)
        agent = FunctionAgent(name="helper", tools=[tool_of(lookup)], llm=model, streaming=False)
        await agent.run(f"n-{number}")

    await everybody(size, run)
    check(sessions, size, {"agent helper": ["generation ScriptedLLM", "tool lookup", "generation ScriptedLLM"]})


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_streams_of_llamaindex(sessions: RecordedSessions, size: int) -> None:
    """All streams are open at once, and read in turns."""
    instrument_llamaindex()
    opened = Gate(size)

    async def run(number: int) -> None:
        model = ScriptedLLM(lambda messages: say(f"Done {messages[-1].content}."))
        stream = await model.astream_chat([ChatMessage(role="user", content=f"n-{number}")])
        await opened.pass_through()
        async for _ in stream:
            await asyncio.sleep(0)

    await everybody(size, run)
    check(sessions, size, "generation ScriptedLLM")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
async def test_mcp_calls_of_users_with_a_connection_each(sessions: RecordedSessions, size: int) -> None:
    """All calls wait in the server at once."""
    mcp = pytest.importorskip("mcp")
    mcpserver = pytest.importorskip("mcp.server.mcpserver", reason="a server and a client of mcp 2")
    instrument_mcp()
    server, waiting = mcpserver.MCPServer("shop"), Gate(size)

    @server.tool()
    async def buy(word: str) -> str:
        """Buy something."""
        await waiting.pass_through()
        return f"bought {word}"

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(mcp.Client(server)) for _ in range(USERS)]

        async def run(number: int) -> None:
            await clients[number % USERS].call_tool("buy", {"word": f"n-{number}"})

        await everybody(size, run)
    check(sessions, size, "tool shop.buy")

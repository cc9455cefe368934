"""A call within a framework's run of the same tool makes no second row; the run's row gains what the call knows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import wrap_session
from peers.mcp_servers import memory_session, text_of

from .conftest import Connect

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


def run_of(tool: str, arguments: Any = None) -> Any:
    """Return a block that is what a framework's adapter makes of a tool run: an open tool observation."""
    return langfuse_manager.trace_span(tool, input=arguments, as_type="tool", metadata={"tool_call_id": "c-1"})


async def test_a_call_joins_the_run_of_its_tool(connect: Connect, sessions: RecordedSessions) -> None:
    """One row: named after server and tool, with the run's own metadata, input and output, and the call's metadata."""
    async with connect() as session:
        with langfuse_manager.session("session-a"), run_of("echo", {"text": "hello"}) as run:
            result = await session.call_tool("echo", {"text": "hello"})
            run.update(output="as the framework has it: " + text_of(result))
    trace = sessions.one().traces[0]
    assert trace.tree() == ["tool tools.echo"]
    [row] = trace.observations
    assert (row.input, row.output) == ({"text": "hello"}, "as the framework has it: hello")
    expected = {"tool_call_id": "c-1", "mcp_server": "tools", "mcp_method": "tools/call", "mcp_tool": "echo"}
    assert expected.items() <= row.metadata.items()


@pytest.mark.parametrize("name", ["tools_echo", "weather_echo", "weather.echo", "mcp__weather__echo", "weather/echo"])
async def test_a_prefix_before_the_tools_name_is_no_matter(name: str, sessions: RecordedSessions) -> None:
    """Frameworks put a name of their own for the server before the tool's."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        with run_of(name, {"text": "hello"}):
            await session.call_tool("echo", {"text": "hello"})
    assert sessions.trace().tree() == ["tool tools.echo"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("web_echo", {"query": "other"}), ("other", {"text": "hello"}), ("xecho", {"text": "hello"})],
)
async def test_another_tool_keeps_its_row(name: str, arguments: Any, sessions: RecordedSessions) -> None:
    """A tool of the application that calls an MCP tool for its own purposes has a row, and so has the call."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        with run_of(name, arguments):
            await session.call_tool("echo", {"text": "hello"})
    assert sessions.trace().tree() == [{f"tool {name}": ["tool tools.echo"]}]


async def test_only_the_first_call_joins(sessions: RecordedSessions) -> None:
    """A tool that calls its MCP tool twice has a row, which is the first call, and one below for the second."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        with run_of("echo"):
            await session.call_tool("echo", {"text": "one"})
            await session.call_tool("echo", {"text": "two"})
    assert sessions.trace().tree() == [{"tool tools.echo": ["tool tools.echo"]}]
    assert sessions.trace().observations[1].input == {"text": "two"}


async def test_of_calls_at_once_one_joins(sessions: RecordedSessions) -> None:
    """Two calls that one tool makes at the same time: one is its row, one stands below."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        with run_of("echo"):
            await asyncio.gather(*(session.call_tool("echo", {"text": text}) for text in ("one", "two")))
    assert sessions.trace().tree() == [{"tool tools.echo": ["tool tools.echo"]}]


async def test_a_failed_call_marks_the_run(connect: Connect, sessions: RecordedSessions) -> None:
    """A framework may not know that a result is an error: the row says so."""
    async with connect() as session:
        with run_of("fail"):
            await session.call_tool("fail", {"message": "no luck"})
    [row] = sessions.trace().observations
    assert (row.name, row.level) == ("tools.fail", "ERROR")
    assert row.status_message == "tool_error: Error executing tool fail: no luck"
    assert row.metadata["mcp_error_type"] == "tool_error"


async def test_a_run_that_has_ended_takes_no_call(sessions: RecordedSessions) -> None:
    """Work that outlives a tool's run makes a row of its own, below it while the trace is open."""

    async def later() -> None:
        await released.wait()
        await session.call_tool("echo", {"text": "late"})

    released = asyncio.Event()
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        with langfuse_manager.trace_span("turn"):
            with run_of("echo"):
                task = asyncio.create_task(later())
                await asyncio.sleep(0)
            released.set()
            await task
        with run_of("echo"):
            released.clear()
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        released.set()
        await task
    assert [trace.tree() for trace in sessions.traces] == [
        [{"span turn": [{"tool echo": ["tool tools.echo"]}]}],
        ["tool echo"],
        ["tool tools.echo"],
    ]


async def test_what_the_handler_records_stands_below_the_run(sessions: RecordedSessions) -> None:
    """A server in the same process nests below the row that both share."""

    async def work() -> str:
        with langfuse_manager.trace_span("in the handler"):
            return "done"

    from langfuse_integration_mcp import trace_server
    from peers.mcp_tools import make_server

    server = trace_server(make_server())
    server.add_tool(work)
    async with memory_session(server) as session:
        wrap_session(session, server_name="tools")
        with langfuse_manager.session("session-a"), run_of("work"):
            await session.call_tool("work", {})
    assert sessions.one().traces[0].tree() == [{"tool tools.work": ["span in the handler"]}]

"""langchain-mcp-adapters (mcp 1.x): an agent's MCP tool is one row."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_mcp import instrument, wrap_session
from peers.mcp_servers import stdio_parameters, stdio_session

from .scripted import Scripted

pytestmark = [pytest.mark.mcp, pytest.mark.langchain, pytest.mark.asyncio]


async def ask(tools: list[Any], *calls: tuple[str, dict[str, Any]]) -> str:
    """Let an agent make *calls*, in session A."""
    agent = create_agent(Scripted(calls=list(calls)), tools)
    with langfuse_manager.session("session-a", "user-a"):
        result = await agent.ainvoke({"messages": [("user", "go")]}, config={"callbacks": [SessionHandler()]})
    return str(result["messages"][-1].text)


def tree(*tools: Any) -> list[Any]:
    """Return the tree of an agent that calls *tools* at once."""
    return [{"agent agent": ["generation scripted", *tools, "generation scripted"]}]


async def test_a_tool_of_a_session_is_one_row(no_open_runs: RecordedSessions) -> None:
    """The agent's tool run is the row of the call: with the name, the think that asked, and the server's facts."""
    async with stdio_session() as session:
        wrap_session(session, server_name="tools")
        assert await ask(await load_mcp_tools(session), ("echo", {"text": "hello"})) == "hello"
    trace = no_open_runs.one().traces[0]
    assert len(no_open_runs.traces) == 1
    assert [found.name for found in trace.observations if found.type == "tool"] == ["tools.echo"]
    row = trace.one("tools.echo")
    expected = {"step_type": "act", "tool_call_id": "c-0", "mcp_server": "tools", "mcp_tool": "echo"}
    assert expected.items() <= row.metadata.items()
    assert row.input == {"text": "hello"}
    assert (row.session_id, row.user_id) == ("session-a", "user-a")


@pytest.mark.parametrize("prefix", [False, True])
async def test_a_session_per_call_is_one_row_too(prefix: bool, no_open_runs: RecordedSessions) -> None:
    """MultiServerMCPClient opens a session for every call: handshake and listing leave no row, also with prefixes."""
    instrument()
    parameters = stdio_parameters("llama-mcp")
    client = MultiServerMCPClient(
        {"zoo": {"transport": "stdio", "command": sys.executable, "args": parameters.args, "env": parameters.env}},
        tool_name_prefix=prefix,
    )
    name = "zoo_echo" if prefix else "echo"
    said = await ask(await client.get_tools(), (name, {"text": "one"}), (name, {"text": "two"}))
    assert said == "one and two"
    [trace] = no_open_runs.traces
    rows = [found for found in trace.observations if found.type == "tool"]
    assert [found.name for found in rows] == ["llama-mcp.echo"] * 2
    assert sorted(found.input["text"] for found in rows) == ["one", "two"]
    assert {found.type for found in trace.observations} == {"agent", "generation", "tool"}


async def test_a_tools_error_marks_the_row(no_open_runs: RecordedSessions) -> None:
    """The adapter hands an error result to the model; its row is an ERROR with the tool's text."""
    async with stdio_session() as session:
        wrap_session(session, server_name="tools")
        await ask(await load_mcp_tools(session), ("fail", {"message": "no luck"}))
    row = no_open_runs.one().traces[0].one("tools.fail")
    assert row.level == "ERROR"
    assert "no luck" in str(row.status_message)
    assert row.metadata["mcp_error_type"] == "tool_error"

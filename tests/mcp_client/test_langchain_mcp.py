"""`langchain.mcp` on fastmcp (mcp 2.x): an agent's MCP tool is one row."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.group import ClientGroup
from fastmcp.client.transports import StdioTransport
from langchain.agents import create_agent
from langchain_core._api import suppress_langchain_beta_warning

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_mcp import instrument
from peers.mcp_servers import HttpServer, stdio_parameters
from peers.mcp_tools import PICTURE

from .scripted import Scripted

with suppress_langchain_beta_warning():
    from langchain.mcp import MCPAdapter

pytestmark = [pytest.mark.mcp, pytest.mark.langchain, pytest.mark.asyncio]


def over_stdio(name: str) -> StdioTransport:
    """The test server as a child process."""
    parameters = stdio_parameters(name)
    return StdioTransport(parameters.command, parameters.args, env=parameters.env, keep_alive=False)


async def ask(tools: list[Any], *calls: tuple[str, dict[str, Any]]) -> str:
    """Let an agent make *calls*, in session A."""
    agent = create_agent(Scripted(calls=list(calls)), tools)
    with langfuse_manager.session("session-a", "user-a"):
        result = await agent.ainvoke({"messages": [("user", "go")]}, config={"callbacks": [SessionHandler()]})
    return str(result["messages"][-1].text)


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("held", [True, False])
async def test_a_tool_of_an_agent_is_one_row(
    transport: str, held: bool, no_open_runs: RecordedSessions, mcp_http: HttpServer
) -> None:
    """With the connection held open or one per call, the agent's tool run is the row of the call."""
    instrument()
    target: Any = mcp_http.url if transport == "http" else over_stdio("tools")
    adapter = MCPAdapter(target)
    if held:
        async with adapter:
            said = await ask(await adapter.list_tools(), ("echo", {"text": "one"}), ("echo", {"text": "two"}))
    else:
        said = await ask(await adapter.list_tools(), ("echo", {"text": "one"}), ("echo", {"text": "two"}))
    assert said == "one and two"
    [trace] = no_open_runs.traces
    rows = [found for found in trace.observations if found.type == "tool"]
    assert [found.name for found in rows] == ["tools.echo", "tools.echo"]
    assert {found.type for found in trace.observations} == {"agent", "generation", "tool"}
    for row in rows:
        assert row.metadata["step_type"] == "act"
        assert (row.metadata["mcp_server"], row.metadata["mcp_tool"]) == ("tools", "echo")
        assert (row.session_id, row.user_id, row.metadata["mcp_transport"]) == ("session-a", "user-a", transport)


async def test_a_tools_error_marks_the_row(no_open_runs: RecordedSessions) -> None:
    """The adapter hands an error result to the model; its row is an ERROR with the tool's text."""
    instrument()
    async with MCPAdapter(over_stdio("tools")) as adapter:
        await ask(await adapter.list_tools(), ("fail", {"message": "no luck"}))
    row = no_open_runs.one().traces[0].one("tools.fail")
    assert row.level == "ERROR"
    assert "no luck" in str(row.status_message)


async def test_two_servers_with_the_same_tool_are_told_apart(no_open_runs: RecordedSessions) -> None:
    """A group puts its own names before the tools'; the rows have the servers' names, each its own."""
    instrument()
    group = ClientGroup({"here": Client(over_stdio("first")), "there": Client(over_stdio("second"))})
    async with MCPAdapter(group) as adapter:
        await ask(await adapter.list_tools(), ("here_echo", {"text": "one"}), ("there_echo", {"text": "two"}))
    rows = [found for found in no_open_runs.one().observations if found.type == "tool"]
    told = sorted((found.name, found.input["text"]) for found in rows)
    assert told == [("first.echo", "one"), ("second.echo", "two")]


async def test_a_question_to_the_user_and_its_resume_are_in_one_trace(no_open_runs: RecordedSessions) -> None:
    """A tool that needs input interrupts the graph; resumed, the answered call is still one row of the tool's run."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    instrument()
    async with MCPAdapter(over_stdio("tools")) as adapter:
        tools = [tool for tool in await adapter.list_tools() if tool.name == "choose"]
        model = Scripted(calls=[("choose", {"question": "Which?"})])
        agent = create_agent(model, tools, checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "t-1"}, "callbacks": [SessionHandler()]}
        with langfuse_manager.session("session-a"):
            asked = await agent.ainvoke({"messages": [("user", "go")]}, config)
            [question] = asked["__interrupt__"][0].value["requests"]
            answers = {question["key"]: {"action": "accept", "content": {"animal": "vicuña"}}}
            said = await agent.ainvoke(Command(resume={"responses": answers}), config)
    assert said["messages"][-1].text == "chose vicuña"
    [trace] = no_open_runs.traces
    rows = [found for found in trace.observations if found.type == "tool"]
    assert [found.name for found in rows] == ["tools.choose", "tools.choose"]
    assert {found.level for found in rows} == {"DEFAULT"}


async def test_a_picture_of_a_tool_is_a_reference_in_each_row(no_open_runs: RecordedSessions) -> None:
    """The tool's output, the model's next input and the agent's output have the reference, and no row the base64."""
    instrument()
    async with MCPAdapter(over_stdio("tools")) as adapter:
        await ask(await adapter.list_tools(), ("picture", {"caption": "a llama"}))
    rows = no_open_runs.one().observations
    (tool,) = [row for row in rows if row.type == "tool"]
    assert "@@@langfuseMedia:type=image/png|id=" in str(tool.output)
    assert "@@@langfuseMedia:type=image/png|id=" in str(rows[-1].input)
    assert not any(PICTURE in str((row.input, row.output, row.metadata)) for row in rows)

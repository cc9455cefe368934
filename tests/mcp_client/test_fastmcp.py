"""fastmcp: its own client and server spans give way, also when a client is copied."""

from __future__ import annotations

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.transports import StdioTransport

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, trace_server, unwrap_session, wrap_session
from peers.mcp_servers import HttpServer, stdio_parameters

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


def server() -> Any:
    """A server of fastmcp with one tool, which records a span."""
    made: Any = FastMCP("zoo")

    @made.tool
    def feed(animal: str) -> str:
        with langfuse_manager.trace_span("feeding"):
            return f"{animal} is fed"

    return made


def over_stdio() -> StdioTransport:
    """The test server as a child process."""
    parameters = stdio_parameters()
    return StdioTransport(parameters.command, parameters.args, env=parameters.env, keep_alive=False)


@pytest.mark.parametrize("how", ["wrapped", "instrumented"])
async def test_a_call_is_one_row(how: str, sessions: RecordedSessions, mcp_http: HttpServer) -> None:
    """Over stdio, HTTP and in memory: one tool row per call, no span of fastmcp's or the SDK's."""
    if how == "instrumented":
        instrument()
    for transport in (over_stdio(), mcp_http.url):
        sessions.clear()
        client: Any = Client(transport)
        if how == "wrapped":
            wrap_session(client, server_name="tools")
        async with client:
            with langfuse_manager.session("session-a"):
                result = await client.call_tool("echo", {"text": "hello"})
        assert result.content[0].text == "hello"
        assert [(found.label, found.session_id, found.output) for found in sessions.observations] == [
            ("tool tools.echo", "session-a", "hello")
        ]


async def test_a_server_in_this_process_adds_what_its_handlers_record(sessions: RecordedSessions) -> None:
    """In memory the handler's own span stands below the row, and the server's span gives way."""
    instrument()
    async with Client(server()) as client:
        with langfuse_manager.session("session-a"):
            await client.call_tool("feed", {"animal": "Luna"})
    assert sessions.one().traces[0].tree() == [{"tool zoo.feed": ["span feeding"]}]
    assert len(sessions.traces) == 1


async def test_a_traced_server_of_fastmcp_continues_the_trace(sessions: RecordedSessions) -> None:
    """`trace_server` takes a fastmcp server."""
    async with wrap_session(Client(trace_server(server()))) as client:
        with langfuse_manager.session("session-a"):
            await client.call_tool("feed", {"animal": "Luna"})
    assert sessions.one().traces[0].tree() == [{"tool zoo.feed": ["span feeding"]}]


async def test_a_copy_of_a_traced_client_is_traced_and_apart(sessions: RecordedSessions) -> None:
    """`new()` copies the client: calls of the copy go through the copy's own connection."""
    client = wrap_session(Client(server()), server_name="mine")
    copy = client.new()
    async with client:
        await client.call_tool("feed", {"animal": "one"})
        async with copy:
            await copy.call_tool("feed", {"animal": "two"})
            assert copy.session is not client.session
    assert [(found.name, found.input) for found in sessions.observations if found.type == "tool"] == [
        ("mine.feed", {"animal": "one"}),
        ("mine.feed", {"animal": "two"}),
    ]


async def test_callbacks_of_a_shared_client_see_the_caller(sessions: RecordedSessions) -> None:
    """The client connects in a task of its own, in the opener's context: sampling and logs see who calls."""
    seen: list[Any] = []

    async def sample(messages: Any, params: Any, context: Any) -> str:
        seen.append(("sampling", langfuse_manager.current_session_id))
        return "a sampled text"

    async def log(message: Any) -> None:
        seen.append(("log", langfuse_manager.current_session_id))

    client: Any = wrap_session(
        Client(over_stdio(), sampling_handler=sample, log_handler=log, mode="legacy"), server_name="tools"
    )
    with langfuse_manager.session("session-opener"):
        await client.__aenter__()
    with langfuse_manager.session("session-b"):
        await client.call_tool("sample", {"prompt": "Go on"})
        await client.call_tool("log", {"text": "hear"})
    await client.__aexit__(None, None, None)
    assert seen == [("sampling", "session-b"), ("log", "session-b")]
    assert {found.session_id for found in sessions.observations} == {"session-b"}


async def test_an_unwrapped_client_is_as_it_was(sessions: RecordedSessions) -> None:
    """After `unwrap_session` a call makes no row of ours."""
    client = wrap_session(Client(server()))
    async with client:
        await client.call_tool("feed", {"animal": "on"})
        unwrap_session(client)
        await client.call_tool("feed", {"animal": "off"})
    assert [found.input for found in sessions.observations if found.metadata.get("mcp_server")] == [{"animal": "on"}]

"""The high-level client of mcp 2: rounds, its cache, and callbacks that are set before it connects."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client, stdio_client, types
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import MCPServer

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, unwrap_session, wrap_session
from peers.mcp_servers import ClientSide, stdio_parameters
from peers.mcp_tools import lowlevel, make_server
from peers.waiting import until_async

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("how", ["wrapped", "instrumented"])
async def test_a_call_in_rounds_is_one_row(how: str, mode: str, sessions: RecordedSessions) -> None:
    """A call that needs input from the user is one tool row, with the question and the answer below it."""
    answers = ClientSide(animal="vicuña", probe=lambda: langfuse_manager.current_session_id)
    if how == "instrumented":
        instrument()
    client = Client(stdio_client(stdio_parameters()), mode=mode, **answers.callbacks())
    if how == "wrapped":
        assert wrap_session(client) is client
    with langfuse_manager.session("session-opener"):
        await client.__aenter__()
    with langfuse_manager.session("session-a"):
        await client.call_tool("choose", {"question": "Which?"})
    await client.__aexit__(None, None, None)
    assert answers.seen == [("elicitation/create", "Which?", "session-a")]
    assert sessions.trace().tree() == [{"tool tools.choose": ["span tools.elicitation"]}]
    asked, row = sessions.trace().one("tools.elicitation"), sessions.trace().one("tools.choose")
    assert asked.input["message"] == "Which?"
    assert asked.output == {"action": "accept", "content": {"animal": "vicuña"}}
    assert row.output == "chose vicuña"
    assert {found.session_id for found in sessions.observations} == {"session-a"}


async def test_a_cached_resource_is_a_row_that_says_so(sessions: RecordedSessions) -> None:
    """What the cache answers the agent has read even so; a listing from the cache is nothing."""
    hint = CacheHint(ttl_ms=60_000)
    server: Any = MCPServer("library", cache_hints={"resources/read": hint, "tools/list": hint})
    reads: list[str] = []

    @server.resource("memo://today")
    def memo() -> str:
        reads.append("read")
        return "Feed the llamas."

    async with wrap_session(Client(server)) as client:
        await client.read_resource("memo://today")
        await client.read_resource("memo://today")
        with langfuse_manager.trace_span("listing"):
            await client.list_tools()
            await client.list_tools()
    assert reads == ["read"]
    assert [trace.tree() for trace in sessions.traces] == [
        ["retriever library.read_resource"],
        ["retriever library.read_resource"],
        [{"span listing": ["span library.list_tools"]}],
    ]
    first, second = (trace.observations[0] for trace in sessions.traces[:2])
    assert "mcp_cached" not in first.metadata
    assert second.metadata["mcp_cached"] is True
    assert first.output == second.output == "Feed the llamas."


async def test_a_round_by_hand_shows_what_is_asked(sessions: RecordedSessions) -> None:
    """Rounds driven by the application have a row each; the first shows the question, and not the opaque state."""
    client = Client(make_server(), **ClientSide().callbacks())
    async with wrap_session(client, server_name="tools"):
        asked: Any = await client.session.call_tool("choose", {"question": "Which?"}, allow_input_required=True)
        [key] = asked.input_requests
        answers = {key: types.ElicitResult(action="accept", content={"animal": "vicuña"})}
        state = asked.request_state
        arguments = {"question": "Which?"}
        await client.session.call_tool("choose", arguments, input_responses=answers, request_state=state)
    first, second = sessions.observations
    assert list(first.output["input_required"]) == [key]
    assert first.output["input_required"][key]["message"] == "Which?"
    assert (first.level, second.output) == ("DEFAULT", "chose vicuña")


@pytest.mark.filterwarnings("ignore::UserWarning")  # logging is deprecated in the newest protocol
async def test_what_is_said_at_the_handshake_is_nobodys(sessions: RecordedSessions) -> None:
    """A log that comes while A opens the connection is untagged: the connection is there for everybody."""
    seen: list[Any] = []
    server = make_server()

    async def greet(ctx: Any, call_next: Any) -> Any:
        if ctx.method == "initialize":
            await ctx.session.send_log_message("info", "hello")
        return await call_next(ctx)

    async def log(params: Any) -> None:
        seen.append((params.data, langfuse_manager.current_session_id))

    lowlevel(server).middleware.append(greet)
    client = wrap_session(Client(server, mode="legacy", logging_callback=log))
    with langfuse_manager.session("session-opener"), langfuse_manager.trace_span("opening"):
        async with client:
            await until_async(lambda: seen)
    assert seen == [("hello", None)]


async def test_the_session_inside_is_traced_as_one_with_the_client(sessions: RecordedSessions) -> None:
    """A call on `client.session` is one row of the same server; unwrapped, neither makes any."""
    async with wrap_session(Client(make_server()), server_name="mine") as client:
        await client.call_tool("echo", {"text": "client"})
        await client.session.call_tool("echo", {"text": "session"})
        unwrap_session(client)
        await client.call_tool("echo", {"text": "off"})
        await client.session.call_tool("echo", {"text": "off"})
        assert "call_tool" not in vars(client)
        assert "call_tool" not in vars(client.session)
    ours = [found for found in sessions.observations if found.metadata.get("mcp_server")]
    assert [(found.name, found.output) for found in ours] == [
        ("mine.echo", "client"),
        ("mine.echo", "session"),
    ]


async def test_a_client_that_is_not_connected_raises_what_it_raises(sessions: RecordedSessions) -> None:
    """A call before the client is entered fails as it does without tracing."""
    client = wrap_session(Client(make_server()))
    with pytest.raises(RuntimeError, match="within an async context manager"):
        await client.call_tool("echo", {"text": "early"})
    [row] = sessions.trace().observations
    assert (row.name, row.level) == ("mcp.echo", "ERROR")

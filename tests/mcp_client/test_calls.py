"""The rows that calls make, over every transport and in both eras: one each, as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import types

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import wrap_session
from peers.mcp_servers import VERSION, memory_session, text_of
from peers.mcp_tools import PICTURE

from .conftest import MODERN, WIRES, Connect, connecting, traced

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

TRANSPORTS = {"stdio": "stdio", "http": "http", "memory": "memory", "direct": "memory"}
MODERN_ERA = "2026-07-28"


@pytest.mark.parametrize("how", [*WIRES, *(MODERN if VERSION == 2 else [])])
async def test_a_call_is_one_tool_row(how: str, request: pytest.FixtureRequest, sessions: RecordedSessions) -> None:
    """A call is one row with server and tool, arguments, result, and what is known of the connection."""
    async with traced(connecting(how, request), server_name="tools")() as session:
        with langfuse_manager.session("session-a", "user-a"):
            await session.call_tool("echo", {"text": "hello"})
    trace = sessions.one().traces[0]
    assert trace.tree() == ["tool tools.echo"]
    [row] = trace.observations
    assert (row.input, row.output, row.user_id, row.level) == ({"text": "hello"}, "hello", "user-a", "DEFAULT")
    version = MODERN_ERA if how in MODERN else None if VERSION == 1 else "2025-11-25"
    assert row.metadata == {
        "mcp_server": "tools",
        "mcp_method": "tools/call",
        "mcp_tool": "echo",
        "mcp_transport": TRANSPORTS[how.removesuffix("-modern")],
        **({"mcp_protocol_version": version} if version else {}),
    }


async def test_structured_content_reads_as_json(connect: Connect, sessions: RecordedSessions) -> None:
    """A tool that returns a number has the number as its output, not the envelope of the protocol."""
    async with connect() as session:
        await session.call_tool("add", {"a": 1, "b": 2})
    assert sessions.trace().one("tools.add").output == 3


async def test_other_requests_are_rows_of_their_own_kind(connect: Connect, sessions: RecordedSessions) -> None:
    """A resource, a prompt and a completion are rows with what was asked for and what came back."""
    reference = types.PromptReference(type="ref/prompt", name="greet")
    async with connect() as session:
        with langfuse_manager.session("session-a"):
            await session.read_resource(_uri("memo://today"))
            await session.get_prompt("greet", {"name": "Luna"})
            await session.complete(reference, {"name": "name", "value": "L"})
    read, prompt, completion = (trace.observations[0] for trace in sessions.one().traces)
    assert (read.label, read.input, read.output) == (
        "retriever tools.read_resource",
        {"uri": "memo://today"},
        "Feed the llamas.",
    )
    assert (prompt.label, prompt.input, prompt.output) == (
        "span tools.get_prompt",
        {"name": "greet", "arguments": {"name": "Luna"}},
        [{"role": "user", "content": "Say hello to Luna."}],
    )
    assert (completion.label, completion.output) == ("span tools.complete", ["Lama", "Luna"])
    assert completion.input["argument"] == {"name": "name", "value": "L"}
    assert (read.metadata["mcp_resource"], prompt.metadata["mcp_prompt"]) == ("memo://today", "greet")
    assert [trace.tree() for trace in sessions.one().traces] == [[found.label] for found in (read, prompt, completion)]


async def test_plumbing_is_no_row(everywhere: Connect, sessions: RecordedSessions) -> None:
    """The handshake, a listing of its own and the listing behind a first call leave no row; nor does the server."""
    async with everywhere() as session:
        with langfuse_manager.session("session-a"):
            await session.list_tools()
            await session.list_resources()
            await session.call_tool("add", {"a": 1, "b": 2})
    assert [trace.tree() for trace in sessions.traces] == [["tool tools.add"]]


async def test_a_listing_below_something_is_a_row(connect: Connect, sessions: RecordedSessions) -> None:
    """Within a span of the application a listing shows names and descriptions, and not the schemas."""
    async with connect() as session:
        with langfuse_manager.session("session-a"), langfuse_manager.trace_span("setting up"):
            await session.list_tools()
            await session.list_prompts()
    assert sessions.trace().tree() == [{"span setting up": ["span tools.list_tools", "span tools.list_prompts"]}]
    listed = sessions.trace().one("tools.list_tools")
    assert {"name": "echo", "description": "Return *text*."} in listed.output
    assert listed.input == {}


@pytest.mark.filterwarnings("ignore::UserWarning")  # mcp 2 calls what its newer protocol lacks deprecated
async def test_a_ping_is_no_row(request: pytest.FixtureRequest, sessions: RecordedSessions) -> None:
    """A ping, a log level and a subscription are answered and leave no row, whatever is around them."""
    async with traced(connecting("stdio", request))() as session:
        with langfuse_manager.trace_span("around"):
            await session.send_ping()
    assert sessions.trace().tree() == ["span around"]


async def test_a_raw_request_is_a_row(connect: Connect, sessions: RecordedSessions) -> None:
    """A request that is sent without a typed method is the same row, and the request object stays as it was."""
    params = types.CallToolRequestParams(name="echo", arguments={"text": "raw"})
    request: Any = types.CallToolRequest(method="tools/call", params=params)
    async with connect() as session:
        inner = session.session if hasattr(session, "session") else session
        if hasattr(session, "session"):
            wrap_session(inner, server_name="tools")
        sent = types.ClientRequest(request) if VERSION == 1 else request
        result = await inner.send_request(sent, types.CallToolResult)
    assert text_of(result) == "raw"
    assert sessions.trace().tree() == ["tool tools.echo"]
    assert sessions.trace().one("tools.echo").input == {"text": "raw"}
    assert params.meta is None


async def test_a_call_stands_below_what_is_around_it(connect: Connect, sessions: RecordedSessions) -> None:
    """A call nests in the span around it, in its trace; the span after it does not nest in the call."""
    async with connect() as session:
        with langfuse_manager.session("session-a"), langfuse_manager.trace_span("around"):
            await session.call_tool("echo", {"text": "in"})
            with langfuse_manager.trace_span("after"):
                pass
        with langfuse_manager.trace_span("later"):
            pass
    assert [trace.tree() for trace in sessions.traces] == [
        [{"span around": ["tool tools.echo", "span after"]}],
        ["span later"],
    ]


async def test_arguments_are_noted_as_they_were(sessions: RecordedSessions) -> None:
    """What the application does to the arguments afterwards does not show."""
    arguments = {"text": "before"}
    async with memory_session() as session:
        wrap_session(session)
        await session.call_tool("echo", arguments)
        arguments["text"] = "after"
    assert sessions.trace().observations[0].input == {"text": "before"}


def _uri(address: str) -> Any:
    if VERSION == 2:
        return address
    from pydantic import AnyUrl

    return AnyUrl(address)


@pytest.mark.asyncio
async def test_a_picture_is_uploaded_and_replaced(connect: Connect, sessions: RecordedSessions) -> None:
    """The picture in a result is a reference in the row, beside its text; its base64 is not."""
    async with connect() as session:
        await session.call_tool("picture", {"caption": "a llama"})
    (row,) = sessions.trace().observations
    text, reference = row.output
    assert text == "a llama"
    assert reference.startswith("@@@langfuseMedia:type=image/png|id=")
    assert PICTURE not in str((row.input, row.output, row.metadata))


async def test_a_result_is_what_the_server_said(connect: Connect, sessions: RecordedSessions) -> None:
    """What the application makes of a result afterwards is neither in the row nor in its exact form."""
    async with connect() as session:
        result = await session.call_tool("add", {"a": 1, "b": 2})
        structured = result.structured_content if VERSION == 2 else result.structuredContent
        result.content.append(types.TextContent(type="text", text="mine"))
        result.content[0].text = "mine"
        structured["mine"] = 1
        await session.call_tool("add", {"a": 1, "b": 2})
    changed, untouched = (
        sessions.trace().named("tools.add")
        if len(sessions.traces) == 1
        else (trace.one("tools.add") for trace in sessions.traces)
    )
    assert changed.output == untouched.output == 3
    assert changed.exact["exchanges"] == untouched.exact["exchanges"]
    assert "mine" not in str(changed.exact)

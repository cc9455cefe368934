"""The reference server of the protocol's authors, in TypeScript, over stdio."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument
from peers.mcp_servers import ClientSide
from peers.node import command_of, environment

REFERENCE = "@@@langfuseMedia:type=image/png|id="
pytestmark = [pytest.mark.mcp, pytest.mark.slow, pytest.mark.timeout(300)]

PACKAGE = "@modelcontextprotocol/server-everything"


@pytest.fixture(scope="module")
def command() -> list[str]:
    """How the server is started."""
    return [*command_of(PACKAGE, "mcp-server-everything"), "stdio"]


@asynccontextmanager
async def connected(command: list[str], **options: Any) -> AsyncGenerator[ClientSession, None]:
    """Yield an initialised session with the server."""
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=environment(command))
    try:
        with open(os.devnull, "w") as quiet:  # noqa: ASYNC230, PTH123  it greets on standard error
            async with stdio_client(parameters, errlog=quiet) as streams, ClientSession(*streams, **options) as session:
                await session.initialize()
                yield session
    except* anyio.BrokenResourceError:
        pass  # mcp 1: the server had something to say while the session was closed


@pytest.mark.asyncio
async def test_a_conversation_with_a_server_of_another_language(command: list[str], sessions: RecordedSessions) -> None:
    """Text, an image, structured content, an error, a resource, a prompt and a long operation: each is its row."""
    instrument()
    progress: list[float] = []

    async def note(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async with connected(command) as session:
        with langfuse_manager.session("session-a", "user-a"):
            await session.call_tool("echo", {"message": "hello"})
            await session.call_tool("get-tiny-image", {})
            await session.call_tool("get-structured-content", {"location": "Chicago"})
            await session.call_tool("echo", {"text": "wrong"})
            await session.get_prompt("args-prompt", {"city": "Lima"})
            operation = {"duration": 0.3, "steps": 3}
            await session.call_tool("trigger-long-running-operation", operation, progress_callback=note)
            uri: Any = (await session.list_resources()).resources[0].uri
            await session.read_resource(uri)
    rows = sessions.one().observations
    name = rows[0].name.removesuffix(".echo")
    assert [found.name.removeprefix(f"{name}.") for found in rows] == [
        "echo",
        "get-tiny-image",
        "get-structured-content",
        "echo",
        "get_prompt",
        "trigger-long-running-operation",
        "read_resource",
    ]
    assert len(sessions.traces) == len(rows)
    echoed, pictured, structured, wrong, prompted, operated, read = rows
    assert echoed.output == "Echo: hello"
    assert any(str(part).startswith(REFERENCE) for part in pictured.output)
    assert structured.output["temperature"] == 36
    assert (wrong.level, prompted.output[0]["role"]) == ("ERROR", "user")
    assert (operated.level, progress) == ("DEFAULT", [1, 2, 3])
    assert read.input == {"uri": str(uri)}
    assert {found.metadata["mcp_transport"] for found in rows} == {"stdio"}


@pytest.mark.asyncio
async def test_what_it_asks_is_on_the_callers_account(command: list[str], sessions: RecordedSessions) -> None:
    """The server asks for a sample: it knows nothing of traces, and one call is in flight: the caller's."""
    instrument()
    client = ClientSide(probe=lambda: langfuse_manager.current_session_id)
    with langfuse_manager.session("session-opener"):
        connection = connected(command, **client.callbacks())
        session = await connection.__aenter__()
    with langfuse_manager.session("session-b"):
        names = {tool.name for tool in (await session.list_tools()).tools}
        assert "trigger-sampling-request" in names
        await session.call_tool("trigger-sampling-request", {"prompt": "Go on", "maxTokens": 10})
    await connection.__aexit__(None, None, None)
    asked = [identity for method, _, identity in client.seen if method == "sampling/createMessage"]
    assert asked == ["session-b"]
    assert "session-opener" not in {found.session_id for found in sessions.observations}

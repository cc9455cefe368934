"""Which server a row names where no handshake tells it: a pinned protocol version, proxies, gateways."""

from __future__ import annotations

import json
from typing import Any

import fastmcp
import pytest
from fastmcp.server import create_proxy
from mcp import Client
from mcp.server.mcpserver import Context, MCPServer

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, wrap_session
from peers.mcp_servers import HttpServer, http_server

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

SERVERS = ["github", "jira", "wiki"]
PINNED = "2026-07-28"


def server(name: str) -> Any:
    """A server with the same tool as the others."""
    made = MCPServer(name, log_level="CRITICAL")

    @made.tool()
    def search(query: str, ctx: Context[Any, Any]) -> str:
        if query == "nothing":
            raise ValueError("no query")
        return json.dumps(ctx.request_context.meta or {})

    return made


def named(sessions: RecordedSessions) -> list[tuple[str, str]]:
    """Return the name and the server of each tool row."""
    return [(row.name, row.metadata["mcp_server"]) for row in sessions.observations if row.type == "tool"]


@pytest.mark.parametrize("kind", [Client, fastmcp.Client])
@pytest.mark.parametrize("mode", [PINNED, "auto", "legacy"])
async def test_three_servers_with_one_tool_are_told_apart(mode: str, kind: Any, sessions: RecordedSessions) -> None:
    """Each row names its server, whether a handshake or only the answer says it; a failed call as well."""
    instrument()
    for name in SERVERS:
        async with kind(server(name), mode=mode) as client:
            await client.call_tool("search", {"query": "hay"})
            if kind is Client:
                await client.call_tool("search", {"query": "nothing"})
    expected = [(f"{name}.search", name) for name in SERVERS for _ in range(2 if kind is Client else 1)]
    assert named(sessions) == expected


async def test_a_server_over_http_is_named_by_its_answer(sessions: RecordedSessions, mcp_http: HttpServer) -> None:
    """Over HTTP with a pinned version, two servers at once: each row names its own."""
    instrument()
    with http_server("others") as second:
        async with Client(mcp_http.url, mode=PINNED) as one, Client(second.url, mode=PINNED) as two:
            for client in (one, two, one):
                await client.call_tool("echo", {"text": "hello"})
    assert named(sessions) == [("tools.echo", "tools"), ("others.echo", "others"), ("tools.echo", "tools")]


@pytest.mark.parametrize("mode", [PINNED, "auto"])
async def test_the_backends_of_a_proxy_are_told_apart(mode: str, sessions: RecordedSessions) -> None:
    """A proxy talks to its backends with a pinned version: below the caller's row each backend has its own name."""
    gate: Any = fastmcp.FastMCP("gate")
    for name in SERVERS:
        gate.mount(create_proxy(server(name)), namespace=name)
    instrument()
    async with fastmcp.Client(gate, mode=mode) as client:
        await client.list_tools()
        for name in SERVERS:
            sessions.clear()
            with langfuse_manager.session("session-a"):
                await client.call_tool(f"{name}_search", {"query": "hay"})
            # With a pinned version the gateway passes on what its backend says of itself.
            front = name if mode == PINNED else "gate"
            [trace] = sessions.one().traces
            assert named(sessions) == [(f"{front}.{name}_search", front), (f"{name}.search", name)]
            assert trace.tree() == [{f"tool {front}.{name}_search": [f"tool {name}.search"]}]


async def test_a_given_name_wins(sessions: RecordedSessions) -> None:
    """The application's own name for a server stays, whatever the answers say."""
    async with wrap_session(Client(server("github"), mode=PINNED), server_name="mine") as client:
        await client.call_tool("search", {"query": "hay"})
    assert named(sessions) == [("mine.search", "mine")]


async def test_a_name_that_only_an_answer_says_gets_no_identity(sessions: RecordedSessions) -> None:
    """What a gateway passes on is no reason to send it the user's id; the name of a handshake is."""
    instrument(servers=["github"])
    for mode, identified in ((PINNED, False), ("legacy", True)):
        async with Client(server("github"), mode=mode) as client:
            with langfuse_manager.session("session-a", "user-a"):
                for _ in range(2):
                    result: Any = await client.call_tool("search", {"query": "hay"})
            assert ("session.id=session-a" in json.loads(result.content[0].text).get("baggage", "")) is identified

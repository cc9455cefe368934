"""Connections that break while calls wait: their rows say so, on every transport, whatever the SDK raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import anyio
import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument
from peers.mcp_servers import VERSION, http_server, http_session, stdio_parameters, stdio_session
from peers.waiting import until_async

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

Opening = Callable[[str], AbstractAsyncContextManager[Any]]


def _client(url: str) -> Any:
    from mcp import Client

    return Client(url, mode="2026-07-28")


def _fastmcp(url: str) -> Any:
    import fastmcp

    return fastmcp.Client(url)


def _fastmcp_over_stdio(url: str) -> Any:
    import fastmcp
    from fastmcp.client.transports import StdioTransport

    parameters = stdio_parameters()
    return fastmcp.Client(StdioTransport(parameters.command, parameters.args, env=parameters.env, keep_alive=False))


def _client_over_stdio(url: str) -> Any:
    from mcp import Client, stdio_client

    return Client(stdio_client(stdio_parameters()), mode="2026-07-28")


HTTP: list[Opening] = [http_session, *([_client, _fastmcp] if VERSION == 2 else [])]
STDIO: list[Opening] = [lambda _: stdio_session(), *([_client_over_stdio, _fastmcp_over_stdio] if VERSION == 2 else [])]


GONE = (
    "closed", "ended without", "disconnected", "refused", "connection attempts failed",
    "ReadError", "WriteError", "ClosedResource", "BrokenResource",
)  # fmt: skip
"""What a client says of a connection: it depends on how far the call had come when the server died."""


def said(sessions: RecordedSessions) -> list[tuple[str, str | bool]]:
    """Return the level of each tool row, and whether it says that the connection is gone; if not, what it says."""
    rows = [row for row in sessions.observations if row.type == "tool"]
    return [
        (row.level, any(word in str(row.status_message) for word in GONE) or str(row.status_message)) for row in rows
    ]


async def calling(client: Any, user: str) -> None:
    """Call a tool that takes long, as a user of its own; what the client raises is the application's business."""
    with langfuse_manager.session(f"session-{user}"), suppress(Exception):
        await asyncio.wait_for(client.call_tool("slow", {"seconds": 60}), 30)


@pytest.mark.filterwarnings("ignore:Exception ignored")
@pytest.mark.parametrize("opening", HTTP)
async def test_a_server_that_is_killed_fails_the_calls_over_http(opening: Opening, sessions: RecordedSessions) -> None:
    """Two users wait when the server dies: both rows are errors that say what happened to the connection."""
    instrument()
    waited = 5 if VERSION == 1 else 30  # mcp 1.x lets the caller wait for ever, until the application gives up
    with http_server() as server, suppress(BaseExceptionGroup, Exception):
        async with opening(server.url) as client:
            calls = [asyncio.create_task(calling(client, user)) for user in ("a", "b")]
            await until_async(lambda: len(open_calls()) == 2)
            server.process.kill()
            _, late = await asyncio.wait(calls, timeout=waited)
            for task in late:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    await until_async(lambda: not open_calls())
    assert said(sessions) == [("ERROR", True)] * 2
    assert [len(sessions.of(f"session-{user}").observations) for user in ("a", "b")] == [1, 1]


@pytest.mark.parametrize("opening", STDIO)
async def test_a_server_that_ends_fails_the_call_over_stdio(opening: Opening, sessions: RecordedSessions) -> None:
    """The process of the server ends within a call: the row is an error that says so."""
    instrument()
    with suppress(BaseExceptionGroup, Exception):
        async with opening("") as client:
            with langfuse_manager.session("session-a"):
                await client.call_tool("crash", {})
    assert said(sessions) == [("ERROR", True)]


@pytest.mark.parametrize("opening", HTTP)
async def test_a_caller_who_gives_up_is_no_broken_connection(
    opening: Opening, sessions: RecordedSessions, mcp_http: Any
) -> None:
    """A call that the application itself cancels, by a task or by a scope, is cancelled and no error."""
    instrument()
    async with opening(mcp_http.url) as client:
        task = asyncio.create_task(calling(client, "a"))
        await until_async(lambda: len(open_calls()) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with langfuse_manager.session("session-b"), anyio.move_on_after(0.3):
            await client.call_tool("slow", {"seconds": 60})
    rows = [row for row in sessions.observations if row.type == "tool"]
    assert [(row.level, row.status_message) for row in rows] == [("DEFAULT", "cancelled")] * 2


def open_calls() -> list[Any]:
    """Return the calls that have been sent and await their answers."""
    from langfuse_integration_mcp import call

    return [waiting for waiting in call.open_rows.values() if waiting.sent]

"""Every way to reach the MCP server of the tests, traced."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from langfuse_integration_mcp import instrument, uninstrument, wrap_session
from peers.mcp_servers import VERSION, http_session, memory_session, stdio_parameters, stdio_session

NEEDS = {
    "test_client_of_mcp2.py": "mcp.server.mcpserver",
    "test_fastmcp.py": "fastmcp",
    "test_langchain_mcp.py": "fastmcp",
    "test_llamaindex_tools.py": "llama_index.tools.mcp",
    "test_mcp_adapters.py": "langchain_mcp_adapters",
    "test_peers.py": "fastmcp",
    "test_replay_adapters.py": "langchain_mcp_adapters",
    "test_replay_clients.py": "fastmcp",
    "test_rounds.py": "fastmcp",
    "test_server_names.py": "fastmcp",
    "test_tasks.py": "fastmcp_tasks",
    "test_tasks_of_mcp1.py": "mcp.client.experimental",
}
"""Tests of what exists for one generation of the SDK only, by a package that has to be there."""


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


collect_ignore = [test for test, module in NEEDS.items() if not _is_there(module)]

Connect = Callable[..., AbstractAsyncContextManager[Any]]

WIRES = ["stdio", "http", "memory"]
MODERN = ["stdio-modern", "http-modern", "direct"]
"""The stateless era of mcp 2: over a wire, and without one."""


def connecting(how: str, request: pytest.FixtureRequest) -> Connect:
    """Return how a connection of that kind is opened; its block yields a session, or a Client of mcp 2."""
    if how == "stdio":
        return stdio_session
    if how == "memory":
        return memory_session
    if how == "http":
        url = request.getfixturevalue("mcp_http").url
        return lambda **options: http_session(url, **options)
    from mcp import Client, stdio_client

    from peers.mcp_tools import make_server

    def client(**options: Any) -> Any:
        if how == "stdio-modern":
            return Client(stdio_client(stdio_parameters()), mode="2026-07-28", **options)
        if how == "http-modern":
            return Client(request.getfixturevalue("mcp_http").url, **options)
        return Client(make_server(), **options)

    return client


def traced(connect: Connect, **settings: Any) -> Connect:
    """Return *connect* with its session wrapped, as an application does it."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncGenerator[Any, None]:
        connection = connect(**options)
        if VERSION == 2 and hasattr(connection, "call_tool"):
            wrap_session(connection, **settings)
        async with connection as session:
            yield wrap_session(session, **settings)

    return opened


@pytest.fixture(params=["http", "memory", *(["direct"] if VERSION == 2 else [])])
def connect(request: pytest.FixtureRequest) -> Connect:
    """The ways to reach the server that start no process, wrapped, named `tools`."""
    return traced(connecting(request.param, request), server_name="tools")


@pytest.fixture(params=[*WIRES, *(MODERN if VERSION == 2 else [])])
def everywhere(request: pytest.FixtureRequest) -> Connect:
    """All ways to reach the server, also those that start a process, wrapped, named `tools`."""
    return traced(connecting(request.param, request), server_name="tools")


@pytest.fixture
def instrumented() -> Iterator[None]:
    """Every session of the process is traced during the test."""
    instrument()
    yield
    uninstrument()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    from langfuse_integration_mcp import call

    uninstrument()
    assert call.open_rows == {}

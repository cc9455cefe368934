"""Sessions with the MCP server of `mcp_tools`: over stdio, over streamable HTTP, and in memory; mcp 1.x and 2.x.

async with stdio_session() as session:
    result = await session.call_tool("echo", {"text": "hello"})

with http_server() as server:
    async with http_session(server.url) as session: ...
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.memory import create_client_server_memory_streams

from peers.mcp_tools import VERSION, lowlevel, make_server
from peers.preforked import command_of

__all__ = [
    "VERSION",
    "ClientSide",
    "HttpServer",
    "http_server",
    "http_session",
    "is_error",
    "make_server",
    "memory_session",
    "stdio_parameters",
    "stdio_session",
    "text_of",
]

TESTS = Path(__file__).resolve().parents[1]


@dataclass
class ClientSide:
    """The client's answers to a server's requests, and the requests it received, in order.

    *probe* is called each time a request of the server is handled, and what it returns is kept beside the request: for
    example which session is current there.
    """

    animal: str | None = "alpaca"
    """What the user answers to an elicitation; None declines."""
    completion: str = "a sampled text"
    root: str = "file:///llamas"
    probe: Callable[[], Any] = lambda: None
    seen: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    """Method, text and what the probe saw."""

    def callbacks(self) -> dict[str, Any]:
        """Return the arguments for ClientSession, or for mcp 2's Client."""
        return {
            "elicitation_callback": self._elicit,
            "sampling_callback": self._sample,
            "list_roots_callback": self._list_roots,
            "logging_callback": self._log,
        }

    def _saw(self, method: str, text: str) -> None:
        self.seen.append((method, text, self.probe()))

    async def _elicit(self, context: Any, params: Any) -> Any:
        self._saw("elicitation/create", params.message)
        if self.animal is None:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"animal": self.animal})

    async def _sample(self, context: Any, params: Any) -> Any:
        self._saw("sampling/createMessage", params.messages[0].content.text)
        content = types.TextContent(type="text", text=self.completion)
        return types.CreateMessageResult(role="assistant", content=content, model="a-model")

    async def _list_roots(self, context: Any) -> Any:
        self._saw("roots/list", "")
        return types.ListRootsResult.model_validate({"roots": [{"uri": self.root}]})

    async def _log(self, params: Any) -> None:
        self._saw("notifications/message", str(params.data))


def stdio_parameters(
    name: str = "tools", *, setup: str | None = None, env: dict[str, str] | None = None
) -> StdioServerParameters:
    """Return how a client starts the server; *setup* is `module:function`, *env* is added to the environment.

    A PYTHONPATH in *env* is searched after `tests`, so that *setup* may be anywhere.
    """
    command, first = command_of(os.getpid())
    return StdioServerParameters(command=command, args=[*first, *_options(name, setup)], env=_environment(env))


@asynccontextmanager
async def stdio_session(
    name: str = "tools", *, setup: str | None = None, env: dict[str, str] | None = None, **options: Any
) -> AsyncGenerator[ClientSession, None]:
    """Start the server as a child process and yield an initialised session; *options* go to ClientSession."""
    parameters = stdio_parameters(name, setup=setup, env=env)
    errlog = sys.__stderr__ or sys.stderr  # a real file, which a child process needs, also where tests capture output
    async with stdio_client(parameters, errlog=errlog) as streams, _session(streams, options) as session:
        yield session


@dataclass(frozen=True)
class HttpServer:
    """The server as a process of its own; *url* is its MCP endpoint."""

    url: str
    process: subprocess.Popen[str] = field(repr=False)


@contextmanager
def http_server(
    name: str = "tools", *, setup: str | None = None, env: dict[str, str] | None = None
) -> Generator[HttpServer, None, None]:
    """Run the server over streamable HTTP on a port of its own; ends it with the block."""
    command = [sys.executable, "-m", "peers.mcp_tools", *_options(name, setup), "--http"]
    process = subprocess.Popen(command, env={**os.environ, **_environment(env)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the MCP server ended with {process.wait()} before it listened")
        yield HttpServer(url, process)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@asynccontextmanager
async def http_session(url: str, **options: Any) -> AsyncGenerator[ClientSession, None]:
    """Yield an initialised session over streamable HTTP; *options* go to ClientSession."""
    async with streamable_http_client(url) as streams, _session(streams, options) as session:
        yield session


@asynccontextmanager
async def memory_session(server: Any = None, **options: Any) -> AsyncGenerator[ClientSession, None]:
    """Yield an initialised session with a server in this process, by default a new one of `make_server`."""
    inner = lowlevel(server or make_server())
    async with create_client_server_memory_streams() as (near, far), anyio.create_task_group() as tasks:
        tasks.start_soon(inner.run, *far, inner.create_initialization_options())
        async with _session(near, options) as session:
            yield session
        tasks.cancel_scope.cancel()


def text_of(result: Any) -> str:
    """Return the text of a tool's result."""
    return "".join(part.text for part in result.content)


def is_error(result: Any) -> bool:
    """Return whether a tool's result is marked as an error: `isError` in mcp 1.x, `is_error` in 2.x."""
    return bool(getattr(result, "is_error" if VERSION == 2 else "isError"))


@asynccontextmanager
async def _session(streams: Any, options: dict[str, Any]) -> AsyncGenerator[ClientSession, None]:
    read, write = streams[:2]  # mcp 1.x has a third for HTTP, which tells the session's id
    async with ClientSession(read, write, **options) as session:
        await session.initialize()
        yield session


def _options(name: str, setup: str | None) -> list[str]:
    return ["--name", name, *(("--setup", setup) if setup else ())]


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    more = more or {}
    paths = filter(None, [str(TESTS), more.get("PYTHONPATH"), os.environ.get("PYTHONPATH")])
    return {**more, "PYTHONPATH": os.pathsep.join(paths)}

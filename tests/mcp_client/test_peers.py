"""Servers and clients that others wrote, each client with each server: one row for each call, named and in its session.

The clients are `mcp.Client`, fastmcp's, and the OpenAI Agents SDK's, which is tested where it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument
from peers.models import ModelServer, call, say
from peers.node import command_of, environment

pytestmark = [pytest.mark.mcp, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio]

PAGE = b"<html><body><h1>Llamas</h1><p>Feed them twice.</p></body></html>"


class Step(NamedTuple):
    """One call, and what its row has to show: a part of the output; without one it is an error."""

    tool: str
    arguments: dict[str, Any]
    shows: str | None


class Peer(NamedTuple):
    """A server: how it is started, what it calls itself, and what is called."""

    command: list[str]
    name: str
    steps: list[Step]


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/robots.txt" else 200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        if self.path != "/robots.txt":
            self.wfile.write(PAGE)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of a page."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}/page"
    web.shutdown()
    web.server_close()


def module(name: str, *arguments: str) -> list[str]:
    """Return how a server that is a Python package is started."""
    pytest.importorskip(name, reason=f"needs {name}: pip install {name.replace('_', '-')}")
    return [sys.executable, "-m", name, *arguments]


def time_server(folder: Path, page: str) -> Peer:
    steps = [
        Step("get_current_time", {"timezone": "UTC"}, "datetime"),
        Step("get_current_time", {"timezone": "Nowhere/Else"}, None),
    ]
    return Peer(module("mcp_server_time"), "mcp-time", steps)


def git_server(folder: Path, page: str) -> Peer:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    repo = {"repo_path": str(folder)}
    steps = [
        Step("git_add", {**repo, "files": ["a.txt"]}, "staged"),
        Step("git_status", repo, "a.txt"),
        Step("git_show", {**repo, "revision": "nothing"}, None),
    ]
    return Peer(module("mcp_server_git", "-r", str(folder)), "mcp-git", steps)


def fetch_server(folder: Path, page: str) -> Peer:
    steps = [Step("fetch", {"url": page}, "Feed them twice."), Step("fetch", {"url": "nowhere"}, None)]
    return Peer(module("mcp_server_fetch", "--allow-private-ips"), "mcp-fetch", steps)


def filesystem_server(folder: Path, page: str) -> Peer:
    command = command_of("@modelcontextprotocol/server-filesystem", "mcp-server-filesystem")
    steps = [
        Step("read_text_file", {"path": str(folder / "a.txt")}, "A line about llamas."),
        Step("list_directory", {"path": str(folder)}, "a.txt"),
        Step("read_text_file", {"path": "/etc/passwd"}, None),
    ]
    return Peer([*command, str(folder)], "secure-filesystem-server", steps)


def memory_server(folder: Path, page: str) -> Peer:
    command = command_of("@modelcontextprotocol/server-memory", "mcp-server-memory")
    luna = {"name": "Luna", "entityType": "llama", "observations": ["white"]}
    steps = [
        Step("create_entities", {"entities": [luna]}, "Luna"),
        Step("read_graph", {}, "Luna"),
        Step("delete_entities", {"names": "Luna"}, None),
    ]
    return Peer(command, "memory-server", steps)


def everything_server(folder: Path, page: str) -> Peer:
    command = command_of("@modelcontextprotocol/server-everything", "mcp-server-everything")
    steps = [
        Step("echo", {"message": "hello"}, "Echo: hello"),
        Step("get-sum", {"a": 2, "b": 3}, "is 5"),
        Step("echo", {"text": "wrong"}, None),
    ]
    return Peer([*command, "stdio"], "mcp-servers/everything", steps)


def client_of_mcp(command: list[str], variables: dict[str, str], quiet: Any) -> Any:
    return Client(stdio_client(StdioServerParameters(command=command[0], args=command[1:], env=variables), quiet))


def client_of_fastmcp(command: list[str], variables: dict[str, str], quiet: Any) -> Any:
    import fastmcp
    from fastmcp.client.transports import StdioTransport

    log = Path(quiet.name)
    return fastmcp.Client(StdioTransport(command[0], command[1:], env=variables, keep_alive=False, log_file=log))


def client_of_agents(command: list[str], variables: dict[str, str], quiet: Any) -> Any:
    agents = pytest.importorskip("agents.mcp", reason="needs openai-agents: pip install openai-agents")
    parameters = {"command": command[0], "args": command[1:], "env": variables}
    return agents.MCPServerStdio(parameters, client_session_timeout_seconds=60)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the servers' and clients' own
@pytest.mark.parametrize("connect", [client_of_mcp, client_of_fastmcp, client_of_agents])
@pytest.mark.parametrize(
    "peer_of", [time_server, git_server, fetch_server, filesystem_server, memory_server, everything_server]
)
async def test_each_call_is_one_row(
    peer_of: Callable[[Path, str], Peer],
    connect: Callable[[list[str], dict[str, str], Any], Any],
    page: str,
    tmp_path: Path,
    sessions: RecordedSessions,
) -> None:
    """Good calls show what the tool returned, once; bad ones are errors; all of them name the server."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("A line about llamas.\n")
    peer = peer_of(folder, page)
    variables = {**environment(peer.command), "MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}
    instrument()
    with open(os.devnull, "w") as quiet:  # noqa: ASYNC230, PTH123  servers greet on standard error
        async with connect(peer.command, variables, quiet) as client:
            with langfuse_manager.session("session-a"):
                for step in peer.steps:
                    try:
                        await client.call_tool(step.tool, step.arguments)
                    except Exception:  # noqa: BLE001  each client has an error of its own for a failed tool
                        assert step.shows is None
    tools = [row for row in sessions.one().observations if row.type == "tool"]
    assert [row.name for row in tools] == [f"{peer.name}.{step.tool}" for step in peer.steps]
    for row, step in zip(tools, peer.steps, strict=True):
        assert (row.input, row.metadata["mcp_server"]) == (step.arguments, peer.name)
        if step.shows is None:
            assert (row.level, row.metadata["mcp_error_type"]) == ("ERROR", "tool_error")
        else:
            assert row.level == "DEFAULT"
            assert str(row.output).count(step.shows) == 1, row.output
    assert len(sessions.traces) == len(peer.steps)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("peer_of", [time_server, memory_server])
async def test_an_agent_of_openais_sdk_calls_a_server(
    peer_of: Callable[[Path, str], Peer],
    page: str,
    tmp_path: Path,
    sessions: RecordedSessions,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent's own loop calls the tool: one row, with arguments and result, in the session of who runs the agent."""
    agents = pytest.importorskip("agents", reason="needs openai-agents: pip install openai-agents")
    openai = pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    peer = peer_of(tmp_path, page)
    step = peer.steps[0]
    model_server.script(call(step.tool, step.arguments), say("Done."))
    variables = {**environment(peer.command), "MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")}
    instrument()
    with open(os.devnull, "w") as quiet:  # noqa: ASYNC230, PTH123  servers greet on standard error
        async with openai.AsyncOpenAI(base_url=model_server.openai_url, api_key="key") as provider:
            model = agents.OpenAIChatCompletionsModel(model="gpt-5", openai_client=provider)
            async with client_of_agents(peer.command, variables, quiet) as server:
                agent = agents.Agent(name="helper", model=model, mcp_servers=[server])
                with langfuse_manager.session("session-a"):
                    result = await agents.Runner.run(
                        agent, "Go on.", run_config=agents.RunConfig(tracing_disabled=True)
                    )
    assert result.final_output == "Done."
    (row,) = [row for row in sessions.one().observations if row.type == "tool"]
    assert (row.name, row.input, row.level) == (f"{peer.name}.{step.tool}", step.arguments, "DEFAULT")
    assert str(row.output).count(str(step.shows)) == 1
    assert {row.session_id for row in sessions.observations if row.type == "tool"} == {"session-a"}

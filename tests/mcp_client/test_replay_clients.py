"""Replays of what is built on the SDK's transports: its own client, fastmcp's, LangChain's adapter, many servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import fastmcp
import pytest
from fastmcp.client.transports import StdioTransport
from langchain.agents import create_agent
from langchain_core._api import suppress_langchain_beta_warning
from mcp import Client, stdio_client

import langfuse_integration_langchain
from langfuse_integration.testing import replay
from peers.mcp_servers import ClientSide, HttpServer, stdio_session, text_of

from .replays import Wire, again, record
from .scripted import Scripted

with suppress_langchain_beta_warning():
    from langchain.mcp import MCPAdapter

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


@pytest.fixture(params=["stdio", "http"])
def wire(request: pytest.FixtureRequest, mcp_http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Both transports, with every session traced."""
    return Wire(request.param, mcp_http.url, monkeypatch)


def transport(wire: Wire) -> Any:
    """Return where fastmcp's client connects to."""
    address = wire.address
    if isinstance(address, str):
        return address
    return StdioTransport(address.command, address.args, env=address.env, keep_alive=False)


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_sdks_client(wire: Wire, tmp_path: Path, mode: str) -> None:
    """In each way of connecting; calls that take two rounds ask the user through the client's own callback."""
    seen: list[Any] = []

    async def application() -> Any:
        side = ClientSide()
        address = wire.address if isinstance(wire.address, str) else stdio_client(wire.address)
        callbacks = side.callbacks()
        async with Client(address, mode=mode, **callbacks) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            texts = [
                text_of(await client.call_tool("echo", {"text": "hello"})),
                text_of(await client.call_tool("choose", {"question": "Which?"})),
                text_of(await client.call_tool("add", {"a": 1, "b": 2})),
            ]
            contents = (await client.read_resource("memo://today")).contents[0]
            version = client.protocol_version
        seen[:] = side.seen
        return listed, texts, contents.model_dump(), side.seen, version

    before = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == before
    assert before[0][1] == ["hello", "chose alpaca", "3"]
    assert [method for method, *_ in seen] == ["elicitation/create"]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_another_answer_to_a_question_is_a_divergence(wire: Wire, tmp_path: Path, mode: str) -> None:
    """What the client answers is compared, whether the server asks during the call or by its first result."""

    def application(animal: str) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            address = wire.address if isinstance(wire.address, str) else stdio_client(wire.address)
            async with Client(address, mode=mode, **ClientSide(animal=animal).callbacks()) as client:
                return text_of(await client.call_tool("choose", {"question": "Which?"}))

        return ask

    await record(application("alpaca"), tmp_path / "a.session.json")
    wire.cut()
    with replay(tmp_path / "a.session.json") as session:
        assert await application("llama")() == "chose alpaca"
        [divergence] = session.divergences
        session.allow(1)
    what = "elicitation/create" if mode == "legacy" else "the server's questions"
    assert divergence.text == f"step 1 (choose 1): the client's answer to {what} differs"
    assert any("llama" in line for line in divergence.lines)


async def test_fastmcps_client(wire: Wire, tmp_path: Path) -> None:
    """Results are validated and deserialised as always."""

    async def application() -> Any:
        async with fastmcp.Client(transport(wire)) as client:
            tools = [tool.name for tool in await client.list_tools()]
            result = await client.call_tool("add", {"a": 1, "b": 2})
            return (
                tools,
                result.data.result,
                result.structured_content,
                (await client.read_resource("memo://today"))[0].text,
            )

    before = await record(application, tmp_path / "a.session.json")
    wire.cut()
    assert await again(application, tmp_path / "a.session.json") == before
    assert before[0][1] == 3


@pytest.mark.langchain
async def test_langchains_adapter(wire: Wire, tmp_path: Path) -> None:
    """The agent's model and the server's tools answer from one recording, in one tree."""
    langfuse_integration_langchain.instrument()

    def application(model: Any) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            tools = await MCPAdapter(transport(wire)).list_tools()
            agent = create_agent(model, tools)
            result = await agent.ainvoke({"messages": [("user", "go")]})
            return result["messages"][-1].text

        return ask

    path = tmp_path / "a.session.json"
    calls: Any = [("echo", {"text": "one"}), ("echo", {"text": "two"})]
    try:
        before = await record(application(Scripted(calls=calls)), path)
        wire.cut()
        assert await again(application(Scripted(calls=[("gone", {})])), path) == before
    finally:
        langfuse_integration_langchain.uninstrument()
    assert before[0] == "one and two"


async def test_two_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection gets the handshake and the tools of its own server, and each call the server's answer."""

    async def application() -> Any:
        async with stdio_session("first") as first, stdio_session("second") as second:
            return [
                text_of(await first.call_tool("echo", {"text": "1"})),
                text_of(await second.call_tool("add", {"a": 1, "b": 1})),
                text_of(await first.call_tool("echo", {"text": "3"})),
            ]

    before = await record(application, tmp_path / "a.session.json")
    Wire("stdio", "", monkeypatch).cut()
    assert await again(application, tmp_path / "a.session.json") == before
    assert before == (["1", "2", "3"], [["tool first.echo"], ["tool second.add"], ["tool first.echo"]])

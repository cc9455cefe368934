"""The MCP servers, seen by real client sessions over every transport, on mcp 1.x and 2.x."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, stdio_client, types

from peers.mcp_servers import (
    VERSION,
    ClientSide,
    HttpServer,
    http_server,
    http_session,
    is_error,
    memory_session,
    stdio_parameters,
    stdio_session,
    text_of,
)
from peers.waiting import until_async

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

Connect = Callable[..., AbstractAsyncContextManager[ClientSession]]


@pytest.fixture(params=["stdio", "http", "memory"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Each way to reach the server."""
    if request.param == "http":
        server: HttpServer = request.getfixturevalue("mcp_http")
        return partial(http_session, server.url)
    return stdio_session if request.param == "stdio" else memory_session


async def test_calls_answer_and_fail_in_every_way(connect: Connect) -> None:
    """A text, a structured result, an error result, a JSON-RPC error, an unknown tool: each as the protocol has it."""
    async with connect() as session:
        listed = await session.list_tools()
        assert {"echo", "add", "slow", "fail", "ask"} <= {tool.name for tool in listed.tools}
        assert text_of(await session.call_tool("echo", {"text": "hello"})) == "hello"
        added = await session.call_tool("add", {"a": 1, "b": 2})
        assert (added.model_dump(by_alias=True)["structuredContent"], is_error(added)) == ({"result": 3}, False)
        failed = await session.call_tool("fail", {"message": "no luck"})
        assert (text_of(failed), is_error(failed)) == ("Error executing tool fail: no luck", True)
        assert is_error(await session.call_tool("nothing", {}))
        with pytest.raises(Exception, match="Unknown resource") as caught:
            await session.read_resource(uri("memo://tomorrow"))
        assert caught.value.error.code != 0 or VERSION == 1  # type: ignore[attr-defined]


async def test_resources_prompts_and_completions_answer(connect: Connect) -> None:
    """Everything a server can offer beside tools is there."""
    async with connect() as session:
        assert [str(resource.uri) for resource in (await session.list_resources()).resources] == ["memo://today"]
        for address, expected in (("memo://today", "Feed the llamas."), ("note://luna", "A note about luna.")):
            [content] = (await session.read_resource(uri(address))).contents
            assert isinstance(content, types.TextResourceContents)
            assert content.text == expected
        [message] = (await session.get_prompt("greet", {"name": "Luna"})).messages
        assert isinstance(message.content, types.TextContent)
        assert message.content.text == "Say hello to Luna."
        reference = types.PromptReference(type="ref/prompt", name="greet")
        completed = await session.complete(reference, {"name": "name", "value": "L"})
        assert completed.completion.values == ["Lama", "Luna"]


async def test_a_slow_call_reports_progress(connect: Connect) -> None:
    """Four notifications arrive before the result."""
    came: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        came.append((progress, total, message))

    async with connect() as session:
        result = await session.call_tool("slow", {"seconds": 0.04}, progress_callback=note)
        assert text_of(result) == "done"
        assert came == [(step, 4, f"step {step}") for step in (1, 2, 3, 4)]


async def test_the_server_asks_the_client(connect: Connect) -> None:
    """Elicitation, sampling, roots and logging reach the client's callbacks, and its answers the tools."""
    client = ClientSide(animal="llama", probe=lambda: "here")
    async with connect(**client.callbacks()) as session:
        assert text_of(await session.call_tool("ask", {"question": "Which?"})) == "accept llama"
        assert text_of(await session.call_tool("sample", {"prompt": "Go on"})) == "a sampled text"
        assert text_of(await session.call_tool("roots", {})) == "file:///llamas"
        assert text_of(await session.call_tool("log", {"text": "hear"})) == "logged"
        await until_async(lambda: len(client.seen) == 4)
        client.animal = None
        assert text_of(await session.call_tool("ask", {"question": "Really?"})) == "decline"
    assert client.seen == [
        ("elicitation/create", "Which?", "here"),
        ("sampling/createMessage", "Go on", "here"),
        ("roots/list", "", "here"),
        ("notifications/message", "hear", "here"),
        ("elicitation/create", "Really?", "here"),
    ]


async def test_the_meta_of_a_request_comes_back(connect: Connect) -> None:
    """`_meta` is returned as it arrived; a request without any carries no baggage of its own."""
    ours: Any = {"baggage": "session.id=s", "example.com/colour": "fawn"}
    async with connect() as session:
        bare = text_of(await session.call_tool("meta", {}))
        received = json.loads(text_of(await session.call_tool("meta", {}, meta=ours)))
    assert "baggage" not in bare
    assert "example.com" not in bare
    assert {name: received[name] for name in ours} == ours


async def test_a_handler_sees_the_trace_that_the_sdk_continues(connect: Connect) -> None:
    """mcp 2 continues the trace of a request and leaves its baggage; mcp 1 does neither."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ours: Any = {"traceparent": traceparent, "baggage": "session.id=s"}
    async with connect() as session:
        seen = json.loads(text_of(await session.call_tool("context", {}, meta=ours)))
    arrived = seen["meta"]["traceparent"].split("-")[1]
    assert (seen["trace_id"], seen["baggage"]) == (arrived if VERSION == 2 else "0" * 32, {})


async def test_a_cancelled_call_is_cancelled_in_the_server() -> None:
    """Cancelling the caller's task tells a mcp 2 server, which stops; with mcp 1 the tool goes on to its end."""
    async with stdio_session() as session:
        calling = asyncio.create_task(session.call_tool("slow", {"seconds": 0.5 if VERSION == 1 else 60}))

        await told(session, "slow began")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await told(session, "slow was cancelled" if VERSION == 2 else "slow ended")


async def told(session: ClientSession, last: str) -> None:
    """Ask the server until the last thing in its history is *last*."""
    async with asyncio.timeout(10):
        while True:
            result = await session.call_tool("history", {})
            if result.model_dump(by_alias=True)["structuredContent"]["result"][-1:] == [last]:
                return
            await asyncio.sleep(0.005)


async def test_a_crash_ends_the_connection() -> None:
    """A server that dies in a call breaks that call with a JSON-RPC error and does not hang the client."""
    async with stdio_session() as session:
        with pytest.raises(Exception, match="Connection closed"):
            await session.call_tool("crash", {})


async def test_sessions_over_http_are_apart() -> None:
    """Two sessions with one server interleave; the server is its own process and ends with its block."""
    with http_server(name="zoo") as server:
        async with http_session(server.url) as one, http_session(server.url) as two:
            results = await asyncio.gather(
                *(session.call_tool("echo", {"text": f"{n}"}) for n in range(5) for session in (one, two))
            )
        assert [text_of(result) for result in results] == [f"{n}" for n in range(5) for _ in "ab"]
        assert server.process.pid != os.getpid()
    assert server.process.returncode is not None


async def test_a_setup_function_gets_the_server_first(tmp_path: Path) -> None:
    """`setup` names a function of any module on the given path; it may add to the server."""
    (tmp_path / "my_setup.py").write_text(
        "def install(server):\n    def extra() -> str:\n        return 'from the setup'\n    server.add_tool(extra)\n"
    )
    async with stdio_session(setup="my_setup:install", env={"PYTHONPATH": str(tmp_path)}) as session:
        assert text_of(await session.call_tool("extra", {})) == "from the setup"


async def test_input_required_asks_in_both_eras_of_mcp_2() -> None:
    """mcp 2's Client answers a choice in the handshake era and in the stateless one; mcp 1 has no such tool."""
    if VERSION == 1:
        async with stdio_session() as session:
            assert "choose" not in {tool.name for tool in (await session.list_tools()).tools}
        return
    from mcp import Client

    for mode, version in (("legacy", "2025-11-25"), ("auto", "2026-07-28")):
        client = ClientSide(animal="vicuña")
        async with Client(stdio_client(stdio_parameters()), mode=mode, **client.callbacks()) as connected:
            assert text_of(await connected.call_tool("choose", {"question": "Which?"})) == "chose vicuña"
            assert connected.protocol_version == version
        assert client.seen == [("elicitation/create", "Which?", None)]


def uri(address: str) -> Any:
    """Return *address* as the SDK wants it: mcp 1 a pydantic URL, mcp 2 a string."""
    if VERSION == 2:
        return address
    from pydantic import AnyUrl

    return AnyUrl(address)

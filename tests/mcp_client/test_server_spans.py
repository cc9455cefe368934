"""Spans of a traced server, which destinations beside Langfuse have between the caller's row and the handler's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration_mcp import wrap_session
from peers.backend import Backend
from peers.mcp_servers import VERSION, ClientSide, http_server, http_session, stdio_session
from peers.otlp import Receiver
from peers.spans import Span, tree

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

HANDLERS = str(Path(__file__).parent)
IDS = ("jsonrpc.request.id", "mcp.session.id")


@pytest.fixture
def environment(
    receiver: Receiver, backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    """Client and server deliver to the same Langfuse and destination; what is returned is for the server."""
    variables = {**receiver.environment(), "LANGFUSE_INTEGRATION_OTLP_ENDPOINT": backend.url}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {
        **variables, "PYTHONPATH": HANDLERS, "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "server.sqlite3"),
    }  # fmt: skip


@asynccontextmanager
async def connected(transport: str, environment: dict[str, str], **options: Any) -> AsyncGenerator[Any]:
    """Yield a session with a traced server in a process of its own."""
    if transport == "stdio":
        async with stdio_session(setup="handlers:install", env=environment, **options) as session:
            await session.list_tools()  # else the SDK lists them within the first call
            yield session
        return
    with http_server(setup="handlers:install", env=environment) as server:
        async with http_session(server.url, **options) as session:
            await session.list_tools()
            yield session


async def arrived(receiver: Receiver, count: int) -> list[Span]:
    """Deliver what this process has, and wait for *count* spans while the event loop goes on."""
    langfuse_manager.flush(10)
    return await anyio.to_thread.run_sync(receiver.wait_for, count)


def label(span: Span) -> str:
    """A span in a tree: its kind and its name."""
    return f"{span.kind} {span.name}"


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_call_has_a_span_of_its_server(
    transport: str, receiver: Receiver, backend: Backend, environment: dict[str, str]
) -> None:
    """A destination has the client's row, the server's span, the handler's row; Langfuse has no span of the server."""
    async with connected(transport, environment) as session:
        wrap_session(session, server_name="tools", send_identity=True)
        with langfuse_manager.session("session-a", "user-a"):
            await session.call_tool("work", {"topic": "llamas"})
        spans = await arrived(backend, 3)
        here = await arrived(receiver, 2)
    assert tree(spans, label) == [("CLIENT tools/call work", ("SERVER tools/call work", ("INTERNAL handled",)))]
    assert tree(here, label) == [("INTERNAL tools.work", ("INTERNAL handled",))]
    assert "langfuse_integration" not in str([span.attributes for span in (*spans, *here)])
    client, server, _ = (next(span for span in spans if span.kind == kind) for kind in ("CLIENT", "SERVER", "INTERNAL"))
    assert {span.attributes["session.id"] for span in spans} == {"session-a"}
    assert {span.attributes["user.id"] for span in spans} == {"user-a"}
    for span in (client, server):
        assert span.attributes["mcp.method.name"] == "tools/call"
        assert span.attributes["gen_ai.operation.name"] == "execute_tool"
        assert span.attributes["gen_ai.tool.name"] == "work"
        assert VERSION == 1 or span.attributes["mcp.protocol.version"] == client.attributes["mcp.protocol.version"]
        assert {key: span.attributes.get(key) for key in IDS} == {key: client.attributes.get(key) for key in IDS}
        assert span.attributes["jsonrpc.request.id"].isdigit()
        assert ("mcp.session.id" in span.attributes) == (transport == "http")
        assert span.status == "UNSET"
    assert "gen_ai.tool.call.arguments" in client.attributes
    assert not [key for key in server.attributes if key.startswith(("gen_ai.tool.call", "input.", "output."))]
    assert not [key for span in here for key in span.attributes if key in IDS]
    assert server.start_ns >= client.start_ns
    assert server.end_ns <= client.end_ns


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_failures_stand_on_the_span_of_the_server(
    transport: str, backend: Backend, environment: dict[str, str]
) -> None:
    """A failed tool and a refused request are errors on both sides, also where the handler recorded nothing."""
    async with connected(transport, environment) as session:
        wrap_session(session, server_name="tools")
        await session.call_tool("fail", {"message": "no hay"})
        with pytest.raises(Exception, match="rejected" if VERSION == 2 else "prompt"):
            await (session.call_tool("reject", {}) if VERSION == 2 else session.get_prompt("nothing"))
        spans = await arrived(backend, 4)
    name = "tools/call reject" if VERSION == 2 else "prompts/get nothing"
    assert sorted(tree(spans, label)) == sorted(
        [("CLIENT tools/call fail", ("SERVER tools/call fail",)), (f"CLIENT {name}", (f"SERVER {name}",))]
    )
    assert {span.status for span in spans} == {"ERROR"}
    errors = {(span.name, span.kind): span.attributes["error.type"] for span in spans}
    codes = {(span.name, span.kind): span.attributes.get("rpc.response.status_code") for span in spans}
    for kind in ("CLIENT", "SERVER"):
        assert (errors["tools/call fail", kind], codes["tools/call fail", kind]) == ("tool_error", None)
    assert errors[name, "CLIENT"] == codes[name, "CLIENT"] == ("-32042" if VERSION == 2 else "0")
    assert errors[name, "SERVER"] == ("-32042" if VERSION == 2 else "ValueError")  # mcp 1 gives it a code later


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_question_of_the_server_is_answered_by_the_client(
    transport: str, receiver: Receiver, backend: Backend, environment: dict[str, str]
) -> None:
    """The client's row of an elicitation is of kind SERVER with the protocol's method, below the call's row."""
    async with connected(transport, environment, **ClientSide().callbacks()) as session:
        wrap_session(session, server_name="tools")
        await session.call_tool("ask", {"question": "Which animal?"})
        await session.call_tool("flush", {})
        spans = await arrived(backend, 5)
        here = await arrived(receiver, 3)
    question = ("SERVER elicitation/create",)
    flushed = ("CLIENT tools/call flush", ("SERVER tools/call flush",))
    found = tree(spans, label, ordered=False)
    assert found == [("CLIENT tools/call ask", question, ("SERVER tools/call ask",)), flushed]
    assert tree(here, label) == [("INTERNAL tools.ask", ("INTERNAL tools.elicitation",)), ("INTERNAL tools.flush",)]


async def test_without_a_destination_a_server_makes_no_span(
    receiver: Receiver, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Langfuse alone: the caller's row and the handler's."""
    monkeypatch.delenv("LANGFUSE_INTEGRATION_OTLP_ENDPOINT")
    plain = {key: value for key, value in environment.items() if "OTLP" not in key}
    async with connected("stdio", plain) as session:
        wrap_session(session, server_name="tools")
        await session.call_tool("work", {"topic": "llamas"})
        spans = await arrived(receiver, 2)
    assert tree(spans, label) == [("INTERNAL tools.work", ("INTERNAL handled",))]

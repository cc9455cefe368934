"""A traced server in a process of its own: what its handlers record joins the caller's trace, below its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import TraceMiddleware, trace_server, wrap_session
from peers.mcp_servers import http_server, http_session, is_error, memory_session, stdio_session, text_of
from peers.mcp_tools import VERSION, lowlevel, make_server
from peers.otlp import Receiver

from .handlers import work

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

HANDLERS = str(Path(__file__).parent)


@pytest.fixture
def environment(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Client and server deliver to the same Langfuse; what is returned is for the server."""
    for name, value in receiver.environment().items():
        monkeypatch.setenv(name, value)
    return {
        **receiver.environment(),
        "PYTHONPATH": HANDLERS,
        "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "server.sqlite3"),
    }


async def use(session: Any) -> str:
    """Call the tool that records something, as user A; deliver both sides; return who the handler thought it was."""
    with langfuse_manager.session("session-a", "user-a"):
        told = text_of(await session.call_tool("work", {"topic": "llamas"}))
    assert text_of(await session.call_tool("flush", {})) == "0 pending"
    return told


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_servers_spans_join_below_the_row(
    transport: str, receiver: Receiver, environment: dict[str, str]
) -> None:
    """One trace from both processes: the call's row, and below it what the handler has recorded; no root of its own."""
    if transport == "stdio":
        async with stdio_session(setup="handlers:install", env=environment) as session:
            told = await use(wrap_session(session, server_name="tools", send_identity=True))
    else:
        with http_server(setup="handlers:install", env=environment) as server:
            async with http_session(server.url) as session:
                told = await use(wrap_session(session, server_name="tools", send_identity=True))
    assert told == "session-a user-a"
    assert langfuse_manager.flush(10).pending == 0
    spans = {span.name: span for span in receiver.spans}
    assert sorted(span.name for span in receiver.spans) == ["handled", "tools.flush", "tools.work"]
    handled, row = spans["handled"], spans["tools.work"]
    assert (handled.trace_id, handled.parent_id) == (row.trace_id, row.span_id)
    assert (handled.attributes["session.id"], handled.attributes["user.id"]) == ("session-a", "user-a")
    assert "langfuse.internal.is_app_root" not in handled.attributes


async def test_a_server_that_may_not_know_continues_the_trace(receiver: Receiver, environment: dict[str, str]) -> None:
    """Without identity the handler's span is in the caller's trace, below its row, and in no session."""
    async with stdio_session(setup="handlers:install", env=environment) as session:
        assert await use(wrap_session(session, server_name="tools")) == "None None"
    assert langfuse_manager.flush(10).pending == 0
    [handled] = [span for span in receiver.spans if span.name == "handled"]
    [row] = [span for span in receiver.spans if span.name == "tools.work"]
    assert (handled.trace_id, handled.parent_id) == (row.trace_id, row.span_id)
    assert "session.id" not in handled.attributes


async def test_a_wary_server_believes_nobody(receiver: Receiver, environment: dict[str, str]) -> None:
    """With `accept_identity=False` what a caller says of the user does not count."""
    async with stdio_session(setup="handlers:install_wary", env=environment) as session:
        assert await use(wrap_session(session, server_name="tools", send_identity=True)) == "None None"
    assert langfuse_manager.flush(10).pending == 0


async def test_a_caller_without_trace_makes_roots(receiver: Receiver, environment: dict[str, str]) -> None:
    """A client that is not traced: the handler's span is a trace of its own."""
    async with stdio_session(setup="handlers:install", env=environment) as session:
        await session.call_tool("work", {"topic": "llamas"})
        await session.call_tool("flush", {})
    handled = [span for span in receiver.spans if span.name == "handled"]
    assert [span.parent_id for span in handled if VERSION == 1 or span.parent_id is None] in ([None], [])
    assert "session.id" not in handled[0].attributes


async def test_a_server_in_the_callers_process_is_in_the_callers_session(sessions: RecordedSessions) -> None:
    """No identity is sent and none is needed: the caller's row is known by its id."""
    server = make_server()
    server.add_tool(work)
    trace_server(server)
    with langfuse_manager.session("session-opener"):
        connection = memory_session(server)
        session = await connection.__aenter__()
    wrap_session(session, server_name="tools")
    with langfuse_manager.session("session-a", "user-a"):
        assert text_of(await session.call_tool("work", {"topic": "llamas"})) == "session-a user-a"
    await connection.__aexit__(None, None, None)
    assert sessions.one().traces[0].tree() == [{"tool tools.work": ["span handled"]}]


@pytest.mark.parametrize(
    "meta",
    [
        {"traceparent": "nonsense"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": 7},
        {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "baggage": "session.id=%00" + "x" * 300},
    ],
)
async def test_what_strangers_send_breaks_nothing(meta: Any, sessions: RecordedSessions) -> None:
    """Malformed ids and impossible sessions are as if nothing had been sent."""
    server = make_server()
    server.add_tool(work)
    trace_server(server)
    async with memory_session(server) as session:
        result = await session.call_tool("work", {"topic": "llamas"}, meta=meta)
    assert (text_of(result), is_error(result)) == ("None None", False)
    assert {found.session_id for found in sessions.observations} == {None}


async def test_tracing_a_server_is_done_once(sessions: RecordedSessions) -> None:
    """Twice is once; handlers that are added later are traced; what is no server is refused."""
    server = make_server()
    assert trace_server(trace_server(server)) is server
    inner = lowlevel(server)
    if VERSION == 2:
        assert [type(known) for known in inner.middleware].count(TraceMiddleware) == 1
        assert isinstance(inner.middleware[0], TraceMiddleware)
    else:
        handlers = inner.request_handlers
        trace_server(server)
        assert inner.request_handlers is handlers
    with pytest.raises(TypeError, match="not str"):
        trace_server("server")

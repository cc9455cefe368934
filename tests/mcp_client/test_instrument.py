"""Tracing every session of the process: also those that libraries open, once, and reversibly."""

from __future__ import annotations

import gc
from typing import Any

import mcp
import pytest
from mcp import ClientSession

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, instrumented, uninstrument, unwrap_session, wrap_session
from peers.mcp_servers import VERSION, ClientSide, memory_session, stdio_session

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


def rows(sessions: RecordedSessions) -> list[str]:
    """Return the names of our rows."""
    return [found.name for found in sessions.observations if found.metadata.get("mcp_server")]


async def test_a_session_made_later_is_traced_under_the_servers_own_name(sessions: RecordedSessions) -> None:
    """Nothing but `instrument()`: the row has the server's name, the protocol's version and the session."""
    instrument()
    async with stdio_session("llama-mcp") as session:
        with langfuse_manager.session("session-a", "user-a"):
            await session.call_tool("echo", {"text": "hello"})
    assert sessions.trace().tree() == ["tool llama-mcp.echo"]
    [row] = sessions.trace().observations
    assert row.session_id == "session-a"
    assert row.metadata == {
        "mcp_server": "llama-mcp",
        "mcp_method": "tools/call",
        "mcp_tool": "echo",
        "mcp_transport": "stdio",
        "mcp_protocol_version": "2025-11-25",
    }


async def test_twice_is_once(sessions: RecordedSessions) -> None:
    """Instrumented twice and wrapped as well: one row, with what `wrap_session` says."""
    instrument()
    instrument()
    async with memory_session() as session:
        assert wrap_session(wrap_session(session, server_name="mine")) is session
        await session.call_tool("echo", {"text": "hello"})
    assert rows(sessions) == ["mine.echo"]


async def test_one_can_ask_whether_the_process_is_instrumented() -> None:
    """Between instrument() and uninstrument(), however often either is called; a wrapped session is none."""
    async with memory_session() as session:
        wrap_session(session)
        assert not instrumented()
        instrument()
        instrument()
        assert instrumented()
        uninstrument()
        assert not instrumented()


async def test_uninstrument_gives_everything_back(sessions: RecordedSessions) -> None:
    """Afterwards classes, sessions and the SDK's functions are what they were; the open session is not traced."""
    gc.collect()  # sessions of other tests hold what they need
    uninstrument()
    before = _everything()
    instrument()
    client = ClientSide()
    async with memory_session(**client.callbacks()) as session:
        await session.call_tool("echo", {"text": "on"})
        kept: Any = session.call_tool
        uninstrument()
        uninstrument()
        assert _everything() == before
        assert "call_tool" not in vars(session)
        assert session._sampling_callback == client._sample
        await session.call_tool("echo", {"text": "off"})
        await kept("echo", {"text": "off, though the wrapper is held"})
    async with memory_session() as session:
        await session.call_tool("echo", {"text": "off"})
    assert rows(sessions) == ["tools.echo"]


async def test_uninstrument_leaves_what_the_application_has_wrapped(sessions: RecordedSessions) -> None:
    """A session of `wrap_session` stays traced until it is unwrapped."""
    instrument()
    async with memory_session() as session:
        wrap_session(session)
        uninstrument()
        await session.call_tool("echo", {"text": "on"})
        unwrap_session(session)
        unwrap_session(session)
        await session.call_tool("echo", {"text": "off"})
    assert rows(sessions) == ["tools.echo"]


async def test_subclasses_are_traced_whenever_they_are_defined(sessions: RecordedSessions) -> None:
    """Defined before or after, with an `__init__` of its own or not, calling its parent's or not: all are traced."""

    class Early(ClientSession):
        pass

    class EarlyOwn(ClientSession):
        def __init__(self, *positional: Any, **named: Any) -> None:
            super().__init__(*positional, **named)
            self.mine = True

    instrument()

    class LateOwn(EarlyOwn):
        def __init__(self, *positional: Any, **named: Any) -> None:
            super().__init__(*positional, **named)

        async def call_tool(self, *positional: Any, **named: Any) -> Any:
            return await super().call_tool(*positional, **named)

    class Hollow(ClientSession):
        def __init__(self) -> None:
            pass

        async def call_tool(self, *positional: Any, **named: Any) -> Any:
            async with memory_session() as session:
                return await session.call_tool(*positional, **named)

    for kind in (Early, EarlyOwn, LateOwn):
        sessions.clear()
        async with _session_of(kind) as session:
            await session.call_tool("echo", {"text": "hello"})
        assert sessions.trace().tree() == ["tool tools.echo"]
    sessions.clear()
    await Hollow().call_tool("echo", {"text": "hello"})
    assert sessions.trace().tree() == ["tool tools.echo"]


async def test_a_hollow_client_that_cannot_connect_makes_a_row(sessions: RecordedSessions) -> None:
    """A client that opens a session per call and fails to: the call is an ERROR row, and the handshake none."""

    class Hollow(ClientSession):
        def __init__(self) -> None:
            pass

        async def call_tool(self, *positional: Any, **named: Any) -> Any:
            raise ConnectionRefusedError("nobody listens")

    instrument()
    with langfuse_manager.session("session-a"), pytest.raises(ConnectionRefusedError):
        await Hollow().call_tool("echo", {"text": "hello"})
    [row] = sessions.one().observations
    assert (row.label, row.level, row.input) == ("tool mcp.echo", "ERROR", {"text": "hello"})
    assert row.status_message == "ConnectionRefusedError: nobody listens"


async def test_wrong_arguments_say_what_is_right() -> None:
    """What is no session and what is no collection of names are refused with what to pass instead."""
    with pytest.raises(TypeError, match="ClientSession or Client, not str"):
        wrap_session("session")
    with pytest.raises(TypeError, match="put it in a list"):
        instrument(servers="one")


def _session_of(kind: type[ClientSession]) -> Any:
    from contextlib import asynccontextmanager

    import anyio
    from mcp.shared.memory import create_client_server_memory_streams

    from peers.mcp_tools import lowlevel, make_server

    @asynccontextmanager
    async def opened() -> Any:
        inner = lowlevel(make_server())
        async with create_client_server_memory_streams() as (near, far), anyio.create_task_group() as tasks:
            tasks.start_soon(inner.run, *far, inner.create_initialization_options())
            async with kind(*near) as session:
                await session.initialize()
                yield session
            tasks.cancel_scope.cancel()

    return opened()


def _everything() -> list[Any]:
    """Return all that `instrument` changes."""
    found: list[Any] = [ClientSession.__init__, vars(ClientSession).get("__init_subclass__")]
    if VERSION == 2:
        from mcp.server import _otel
        from mcp.shared import jsonrpc_dispatcher

        found += [mcp.Client.__init__, vars(mcp.Client).get("__init_subclass__"), _otel.otel_span]
        found += [jsonrpc_dispatcher.otel_span, jsonrpc_dispatcher.inject_trace_context]
    return found

"""Nothing grows: not with calls, not with sessions, not with what is cancelled; and off is off."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import call, instrument, instrumentation, wrap_session
from langfuse_integration_mcp.wrapping import connection_of
from peers.mcp_servers import memory_session, text_of

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


@pytest.mark.application
async def test_a_thousand_calls_leave_nothing(sessions: RecordedSessions) -> None:
    """After calls that answered and were cancelled nothing is in flight, and the caller's next span is a root."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        connection: Any = connection_of(session)
        for _ in range(10):
            await asyncio.gather(*(session.call_tool("echo", {"text": "hello"}) for _ in range(80)))
            tasks = [asyncio.create_task(session.call_tool("slow", {"seconds": 60})) for _ in range(20)]
            await asyncio.sleep(0)
            assert connection.in_flight
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert connection.in_flight == {}
        with langfuse_manager.trace_span("after"):
            pass
    assert call.open_rows == {}
    assert len(sessions.observations) == 1001
    [after] = [trace for trace in sessions.traces if trace.named("after")]
    assert after.tree() == ["span after"]


async def test_the_open_rows_have_a_bound(sessions: RecordedSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a server in this process does not find its caller by the row; every row is recorded."""
    monkeypatch.setattr(call.open_rows, "limit", 3)
    most = 0

    async def watched(session: Any) -> None:
        nonlocal most
        calling = asyncio.create_task(session.call_tool("echo", {"text": "hello"}))
        await asyncio.sleep(0)
        most = max(most, len(call.open_rows))
        await calling

    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        await asyncio.gather(*(watched(session) for _ in range(10)))
    assert most == 3
    assert [found.name for found in sessions.observations if found.metadata.get("mcp_server")] == ["tools.echo"] * 10


async def test_sessions_are_not_kept(sessions: RecordedSessions) -> None:
    """A session that is closed and dropped is collected, with what is known of it."""
    instrument()
    references = []
    for _ in range(3):
        async with memory_session() as session:
            await session.call_tool("echo", {"text": "hello"})
            references.append(weakref.ref(session))
        del session
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    assert instrumentation._ours == {}


async def test_off_is_off(sessions: RecordedSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tracing off a call makes no row and sends nothing of ours."""
    monkeypatch.setattr(tracing.recorder, "enabled", False)
    async with memory_session() as session:
        wrap_session(session, send_identity=True)
        with langfuse_manager.session("session-a"):
            meta = json.loads(text_of(await session.call_tool("meta", {})))
    assert "baggage" not in (meta or {})
    assert "langfuse" not in json.dumps(meta)
    monkeypatch.undo()
    assert [found for found in sessions.observations if found.metadata.get("mcp_server")] == []

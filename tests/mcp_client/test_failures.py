"""How calls go wrong, and what their rows say."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import call, wrap_session
from peers.mcp_servers import VERSION, memory_session, stdio_session

from .conftest import Connect

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]


async def test_a_result_that_is_an_error_is_a_tool_error(everywhere: Connect, sessions: RecordedSessions) -> None:
    """A result with isError makes an ERROR row with `tool_error` and the tool's text; the caller gets the result."""
    async with everywhere() as session:
        await session.call_tool("fail", {"message": "no luck"})
        await session.call_tool("nothing", {})
    failed, unknown = (trace.observations[0] for trace in sessions.traces)
    assert (failed.name, failed.level) == ("tools.fail", "ERROR")
    assert failed.status_message == "tool_error: Error executing tool fail: no luck"
    assert failed.output == "Error executing tool fail: no luck"
    assert failed.metadata["mcp_error_type"] == "tool_error"
    assert (unknown.name, unknown.level, unknown.status_message) == (
        "tools.nothing",
        "ERROR",
        "tool_error: Unknown tool: nothing",
    )


async def test_an_error_of_the_protocol_has_its_code(everywhere: Connect, sessions: RecordedSessions) -> None:
    """A JSON-RPC error is raised to the caller as ever; its row is ERROR with the code, in the output too."""
    async with everywhere() as session:
        with pytest.raises(Exception, match="note") as caught:
            await session.read_resource(_uri("note://nobody"))
    code = caught.value.error.code  # type: ignore[attr-defined]
    [row] = sessions.trace().observations
    assert (row.name, row.level) == ("tools.read_resource", "ERROR")
    assert row.status_message == f"{code}: {caught.value.error.message}"  # type: ignore[attr-defined]
    assert row.output["error"]["code"] == code
    assert row.metadata["mcp_error_type"] == code


async def test_a_rejected_call_has_its_code(connect: Connect, sessions: RecordedSessions) -> None:
    """A tool that answers with a JSON-RPC error: mcp 2 raises it, mcp 1 makes a result of it."""
    async with connect() as session:
        if VERSION == 2:
            with pytest.raises(Exception, match="rejected"):
                await session.call_tool("reject", {"code": -32042})
        else:
            await session.call_tool("reject", {"code": -32099})
    [row] = sessions.trace().observations
    assert (row.name, row.level) == ("tools.reject", "ERROR")
    as_result = "tool_error: Error executing tool reject: rejected"
    assert row.status_message == ("-32042: rejected" if VERSION == 2 else as_result)


async def test_a_time_out_says_so(everywhere: Connect, sessions: RecordedSessions) -> None:
    """A call that takes longer than the SDK waits is ERROR, `timeout`."""
    limit: Any = 0.02 if VERSION == 2 else timedelta(seconds=0.02)
    async with everywhere() as session:
        with pytest.raises(Exception, match=r"[Tt]imed out"):
            await session.call_tool("slow", {"seconds": 60}, limit)
    [row] = sessions.trace().observations
    assert (row.name, row.level, row.status_message) == ("tools.slow", "ERROR", "timeout")
    assert row.metadata["mcp_error_type"] == "timeout"
    assert row.output["error"]["message"]


async def test_a_cancelled_call_is_no_error(everywhere: Connect, sessions: RecordedSessions) -> None:
    """A call whose task is cancelled is DEFAULT, `cancelled`, in its session; nothing stays open."""
    began = asyncio.Event()

    async def note(done: float, total: float | None, message: str | None) -> None:
        began.set()

    async def calling() -> None:
        with langfuse_manager.session("session-a"):
            await session.call_tool("slow", {"seconds": 60}, progress_callback=note)

    async with everywhere() as session:
        task = asyncio.create_task(calling())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    [row] = sessions.of("session-a").observations
    assert (row.name, row.level, row.status_message) == ("tools.slow", "DEFAULT", "cancelled")
    assert "mcp_error_type" not in row.metadata
    assert call.open_rows == {}


async def test_a_server_that_dies_fails_the_call(sessions: RecordedSessions) -> None:
    """The connection is lost during a call: its row is ERROR with the SDK's code for that."""
    async with stdio_session() as session:
        wrap_session(session, server_name="tools")
        with pytest.raises(Exception, match="Connection closed"):
            await session.call_tool("crash", {})
    [row] = sessions.trace().observations
    assert (row.level, row.status_message) == ("ERROR", "-32000: Connection closed")


async def test_a_failing_listing_is_a_row(sessions: RecordedSessions) -> None:
    """A listing of its own makes no row, unless it fails: then it is the reason why nothing else follows."""
    async with stdio_session() as session:
        wrap_session(session, server_name="tools")
        with pytest.raises(Exception, match="Connection closed"):
            await session.call_tool("crash", {})
        sessions.clear()
        with langfuse_manager.session("session-a"), pytest.raises(Exception):  # noqa: B017, PT011  the SDK's, closed or broken
            await session.list_tools()
    [row] = sessions.one().observations
    assert (row.name, row.level) == ("tools.list_tools", "ERROR")


async def test_a_result_that_does_not_fit_its_schema_fails_the_row(sessions: RecordedSessions) -> None:
    """What the SDK raises after the answer has come belongs to the call too."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        await session.list_tools()
        schemas = session._tool_output_schemas
        schemas["add"] = {"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]}
        with pytest.raises(RuntimeError, match="Invalid structured content"):
            await session.call_tool("add", {"a": 1, "b": 2})
    [row] = sessions.trace().observations
    assert row.level == "ERROR"
    assert str(row.status_message).startswith("RuntimeError: Invalid structured content")


async def test_a_call_with_wrong_arguments_is_the_callers_own_error(sessions: RecordedSessions) -> None:
    """A missing name raises what it raises without tracing, and leaves no open row."""
    async with memory_session() as session:
        wrap_session(session)
        with pytest.raises(TypeError, match="name"):
            await session.call_tool()
    assert [found.level for found in sessions.observations] == ["ERROR"]
    assert call.open_rows == {}


async def test_an_abandoned_call_ends_when_it_is_collected(sessions: RecordedSessions) -> None:
    """A call whose coroutine is dropped half-way leaves a cancelled row, and nothing in memory."""
    async with memory_session() as session:
        wrap_session(session, server_name="tools")
        abandoned = session.call_tool("slow", {"seconds": 60})
        abandoned.send(None)
        abandoned.close()
        del abandoned
        gc.collect()
        await session.call_tool("echo", {"text": "after"})
    assert [(found.name, found.status_message) for found in sessions.observations] == [
        ("tools.slow", "cancelled"),
        ("tools.echo", None),
    ]
    assert [trace.tree() for trace in sessions.traces] == [["tool tools.slow"], ["tool tools.echo"]]
    assert call.open_rows == {}


def _uri(address: str) -> Any:
    if VERSION == 2:
        return address
    from pydantic import AnyUrl

    return AnyUrl(address)

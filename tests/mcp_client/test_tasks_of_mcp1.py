"""Background tasks of protocol 2025-11-25 (SEP-1686), with mcp 1.x on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from mcp import types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import McpError

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import unwrap_session, wrap_session
from peers.mcp_servers import ClientSide, memory_session

pytestmark = [
    pytest.mark.mcp,
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore:The experimental tasks API:DeprecationWarning"),
]

SECONDS = 0.2


def text(value: str, *, failed: bool = False) -> Any:
    return types.CallToolResult(content=[types.TextContent(type="text", text=value)], isError=failed)


def server() -> Any:
    """A server that runs its tools as tasks."""
    made: Any = Server("analytics")
    made.experimental.enable_tasks()

    @made.list_tools()
    async def list_tools() -> list[Any]:
        execution = types.ToolExecution(taskSupport="required")
        return [
            types.Tool(name=name, inputSchema={"type": "object"}, execution=execution)
            for name in ("analyse", "fail", "crash", "ask", "wait")
        ]

    @made.call_tool()
    async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
        async def work(task: Any) -> Any:
            if name == "ask":
                schema = {"type": "object", "properties": {"animal": {"type": "string"}}}
                answer = await task.elicit("Which?", schema)
                return text(answer.content["animal"])
            await asyncio.sleep(60 if name == "wait" else SECONDS)
            if name == "crash":
                raise ValueError("no such dataset")
            return text("no such dataset", failed=True) if name == "fail" else text("all well")

        return await made.request_context.experimental.run_task(work)

    return made


@asynccontextmanager
async def connected(**options: Any) -> AsyncGenerator[Any, None]:
    async with memory_session(SimpleNamespace(_mcp_server=server()), **options) as session:
        yield wrap_session(session, server_name="analytics")


async def fetched(session: Any, tool: str) -> Any:
    """Begin a task in session-a; poll it and fetch its result in session-b."""
    with langfuse_manager.session("session-a"):
        task_id = (await session.experimental.call_tool_as_task(tool, {})).task.taskId
    with langfuse_manager.session("session-b"):
        async for _ in session.experimental.poll_task(task_id):
            pass
        return await session.experimental.get_task_result(task_id, types.CallToolResult)


@pytest.mark.parametrize(("tool", "level"), [("analyse", "DEFAULT"), ("fail", "ERROR"), ("crash", "ERROR")])
async def test_the_row_of_a_task_ends_with_its_result(tool: str, level: str, sessions: RecordedSessions) -> None:
    """A task that is polled and fetched later is one row of who began it: result, error and duration of the task."""
    async with connected() as session:
        with suppress(McpError, ValueError):  # a task that has crashed has no result that fits
            await fetched(session, tool)
    [row] = sessions.observations
    assert (row.label, row.session_id, row.level) == (f"tool analytics.{tool}", "session-a", level)
    if tool == "analyse":
        assert row.output == "all well"
    else:
        assert "no such dataset" in str(row.status_message)
    assert (row.ended_ns - row.started_ns) / 1e9 >= SECONDS


async def test_a_question_within_a_task_stands_below_its_row(sessions: RecordedSessions) -> None:
    """The question comes with `tasks/result`: it is asked on the account of the call that began the task."""
    answers = ClientSide(animal="vicuña", probe=lambda: langfuse_manager.current_session_id)
    async with connected(**answers.callbacks()) as session:
        with langfuse_manager.session("session-a"):
            task_id = (await session.experimental.call_tool_as_task("ask", {})).task.taskId
        with langfuse_manager.session("session-b"):
            await session.experimental.get_task_result(task_id, types.CallToolResult)
    assert answers.seen == [("elicitation/create", "Which?", "session-a")]
    [trace] = sessions.one().traces
    assert trace.tree() == [{"tool analytics.ask": ["span analytics.elicitation"]}]
    assert trace.one("analytics.ask").output == "vicuña"


async def test_a_task_that_is_cancelled_ends_its_row_as_cancelled(sessions: RecordedSessions) -> None:
    """`tasks/cancel` ends the row: cancelled, no error."""
    async with connected() as session:
        with langfuse_manager.session("session-a"):
            task_id = (await session.experimental.call_tool_as_task("wait", {})).task.taskId
            await session.experimental.cancel_task(task_id)
        [row] = sessions.one().observations
    assert (row.name, row.level, row.status_message) == ("analytics.wait", "DEFAULT", "cancelled")


async def test_a_task_that_nobody_fetches_ends_when_tracing_ends(sessions: RecordedSessions) -> None:
    """The row says what was answered: the handle of the task, which is still working."""
    async with connected() as session:
        with langfuse_manager.session("session-a"):
            await session.experimental.call_tool_as_task("wait", {})
        assert sessions.observations == []
        unwrap_session(session)
    [row] = sessions.one().observations
    assert (row.name, row.level, row.output["task"]["status"]) == ("analytics.wait", "DEFAULT", "working")

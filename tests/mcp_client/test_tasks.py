"""Background tasks of protocol 2026-07-28 (SEP-2663), with fastmcp's extension for servers and clients."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import fastmcp
import pytest
from fastmcp_tasks import TasksExtension
from fastmcp_tasks.client import call_tool_task
from mcp import types

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument, wrap_session
from langfuse_integration_mcp.wrapping import connection_of

pytestmark = [pytest.mark.mcp, pytest.mark.asyncio]

SECONDS = 0.2


def server() -> Any:
    """A server that runs its tools as tasks."""
    made = fastmcp.FastMCP("analytics")
    made.add_extension(TasksExtension())

    @made.tool(task=True)
    async def analyse(dataset: str) -> str:
        await asyncio.sleep(SECONDS)
        if dataset == "none":
            raise ValueError("no such dataset")
        return f"{dataset}: all well"

    @made.tool(task=True)
    async def ask(ctx: fastmcp.Context) -> Any:
        answers = ctx.input_responses
        if not answers:
            schema = {"type": "object", "properties": {"animal": {"type": "string"}}}
            params = types.ElicitRequestFormParams(message="Which animal?", requested_schema=schema)
            return types.InputRequiredResult(input_requests={"animal": types.ElicitRequest(params=params)})
        return str(answers["animal"].content["animal"])

    @made.tool(task=True)
    async def wait() -> str:
        await asyncio.sleep(60)
        return "late"

    return made


@asynccontextmanager
async def connected(how: str, **options: Any) -> AsyncGenerator[Any, None]:
    if how == "instrumented":
        instrument()
    client: Any = fastmcp.Client(server(), **options)
    if how == "wrapped":
        wrap_session(client)
    async with client:
        await client.list_tools()
        yield client


def seconds(row: Any) -> float:
    return float(row.ended_ns - row.started_ns) / 1e9


@pytest.mark.parametrize("how", ["wrapped", "instrumented"])
async def test_the_row_of_a_task_ends_with_its_result(how: str, sessions: RecordedSessions) -> None:
    """The client waits for the task by itself: one row with the result, or the error, and the task's duration."""
    async with connected(how) as client:
        with langfuse_manager.session("session-a"):
            result = await client.call_tool("analyse", {"dataset": "herd"})
            with pytest.raises(Exception, match="no such dataset"):
                await client.call_tool("analyse", {"dataset": "none"})
    assert result.data == "herd: all well"
    good, bad = sessions.one().observations
    assert (good.label, good.level, good.output) == ("tool analytics.analyse", "DEFAULT", "herd: all well")
    assert (bad.level, bad.metadata["mcp_error_type"]) == ("ERROR", "tool_error")
    assert "no such dataset" in str(bad.status_message)
    assert min(seconds(good), seconds(bad)) >= SECONDS
    assert [trace.tree() for trace in sessions.traces] == [["tool analytics.analyse"]] * 2


async def test_a_task_that_is_fetched_later_keeps_its_row_open(sessions: RecordedSessions) -> None:
    """The application takes a handle and asks later, from elsewhere: the row is the first caller's, and ends then."""
    async with connected("instrumented") as client:
        with langfuse_manager.session("session-a"):
            good = await call_tool_task(client, "analyse", {"dataset": "herd"})
            bad = await call_tool_task(client, "analyse", {"dataset": "none"})
        assert sessions.observations == []
        with langfuse_manager.session("session-b"):
            await good.result()
            with pytest.raises(Exception, match="no such dataset"):
                await bad.result()
        rows = sessions.of("session-a").observations
        assert len(sessions.observations) == 2
    assert [(row.name, row.level) for row in rows] == [("analytics.analyse", "DEFAULT"), ("analytics.analyse", "ERROR")]
    assert rows[0].output == "herd: all well"
    assert "no such dataset" in str(rows[1].status_message)
    assert rows[0].metadata["mcp_task"] == good.task_id
    assert min(seconds(row) for row in rows) >= SECONDS


@pytest.mark.parametrize("waits", [True, False])
async def test_a_question_of_a_task_stands_below_its_row(waits: bool, sessions: RecordedSessions) -> None:
    """The user is asked on the account of the call that began the task, also while somebody else waits for it."""
    seen: list[Any] = []

    async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
        with langfuse_manager.trace_span("answering"):
            seen.append((message, langfuse_manager.current_session_id))
        return {"animal": "vicuña"}

    async with connected("instrumented", elicitation_handler=elicit) as client:
        with langfuse_manager.session("session-a"):
            if waits:
                await client.call_tool("ask", {})
            else:
                task = await call_tool_task(client, "ask", {})
        if not waits:
            with langfuse_manager.session("session-b"):
                await task.result()
        [trace] = sessions.one().traces
    assert seen == [("Which animal?", "session-a")]
    assert trace.tree() == [{"tool analytics.ask": [{"span analytics.elicitation": ["span answering"]}]}]
    assert trace.one("analytics.ask").output in ("vicuña", {"animal": "vicuña"})


async def test_a_task_that_is_cancelled_ends_its_row_as_cancelled(sessions: RecordedSessions) -> None:
    """`tasks/cancel` ends the row: cancelled, no error."""
    async with connected("instrumented") as client:
        with langfuse_manager.session("session-a"):
            task = await call_tool_task(client, "wait", {})
            await task.cancel()
        [row] = sessions.one().observations
    assert (row.name, row.level, row.status_message) == ("analytics.wait", "DEFAULT", "cancelled")


@pytest.mark.application
async def test_a_task_that_nobody_fetches_ends_with_its_handle(sessions: RecordedSessions) -> None:
    """When the connection is collected its open rows end; they say what was answered."""
    async with connected("instrumented") as client:
        with langfuse_manager.session("session-a"):
            task = await call_tool_task(client, "wait", {})
        task_id = task.task_id
        connection: Any = connection_of(client.session)
        assert connection.tasks.row_of(task_id) is not None
    del client, task
    gc.collect()
    [row] = sessions.one().observations
    assert (row.name, row.level, row.metadata["mcp_task"]) == ("analytics.wait", "DEFAULT", task_id)
    assert connection.tasks.row_of(task_id) is None

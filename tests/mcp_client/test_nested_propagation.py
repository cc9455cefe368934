"""`propagate_attributes` around calls inside of a span or a node: it holds for those calls only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langfuse import propagate_attributes

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from peers.mcp_servers import memory_session

pytestmark = [pytest.mark.mcp, pytest.mark.langchain, pytest.mark.asyncio, pytest.mark.usefixtures("instrumented")]


async def call_thrice(carried: dict[str, Any]) -> None:
    """Call before, in and after a block; another block is open beside it."""
    async with memory_session() as server:

        async def other() -> None:
            with propagate_attributes(session_id="s-else"):
                await server.call_tool("echo", {"text": "elsewhere"})

        await server.call_tool("echo", {"text": "before"})
        beside = asyncio.create_task(other())
        with propagate_attributes(**carried):
            await server.call_tool("echo", {"text": "inside"})
            await beside
        await server.call_tool("echo", {"text": "after"})


@pytest.mark.parametrize("where", ["span", "node"])
@pytest.mark.parametrize("session_id", ["s-in", None])
async def test_a_block_around_calls(no_open_runs: RecordedSessions, where: str, session_id: str | None) -> None:
    """Session, user and tags of the block are on its calls only; without a session it adds to the one around."""
    ids = {"session_id": "s-in", "user_id": "u-in"} if session_id else {}
    carried = {**ids, "tags": ["in"]}
    with langfuse_manager.session("s-out", "u-out"):
        if where == "span":
            with langfuse_manager.trace_span("span"):
                await call_thrice(carried)
        else:
            node = RunnableLambda(call_thrice, name="node")  # type: ignore[arg-type]
            await node.ainvoke(carried, {"callbacks": [SessionHandler()]})
    calls = {str(row.input["text"]): row for row in no_open_runs.observations if row.type == "tool"}
    inside = ("s-in", "u-in") if session_id else ("s-out", "u-out")
    assert {text: (row.session_id, row.user_id) for text, row in calls.items()} == {
        "before": ("s-out", "u-out"),
        "inside": inside,
        "elsewhere": ("s-else", None),
        "after": ("s-out", "u-out"),
    }
    assert [text for text, row in calls.items() if "langfuse.trace.tags" in row.attributes] == ["inside"]
    assert no_open_runs.trace().tree() == [
        {f"{'span' if where == 'span' else 'chain'} {where}": ["tool tools.echo"] * 4}
    ]

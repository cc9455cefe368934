"""llama-index-tools-mcp (mcp 2.x): `BasicMCPClient` opens a session per call, and never calls its parent's init."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

import langfuse_integration_llamaindex
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_mcp import instrument
from peers.mcp_servers import HttpServer, stdio_parameters

pytestmark = [pytest.mark.mcp, pytest.mark.llamaindex, pytest.mark.asyncio]


@pytest_asyncio.fixture(params=["stdio", "http"])
async def client(request: pytest.FixtureRequest, mcp_http: HttpServer) -> AsyncIterator[BasicMCPClient]:
    """The client of llama-index, made after `instrument()`."""
    instrument()
    parameters = stdio_parameters()
    made = BasicMCPClient(sys.executable, args=parameters.args, env=parameters.env)
    if request.param == "http":
        await made.http_client.aclose()
        made = BasicMCPClient(mcp_http.url)
    yield made
    await made.http_client.aclose()


@pytest.fixture
def llamaindex() -> Iterator[None]:
    """LlamaIndex is traced during the test."""
    langfuse_integration_llamaindex.instrument()
    yield
    langfuse_integration_llamaindex.uninstrument()


async def test_a_call_is_one_row(client: BasicMCPClient, sessions: RecordedSessions) -> None:
    """The outer client and the session that it opens make one row, under the server's own name."""
    with langfuse_manager.session("session-a"):
        await client.call_tool("echo", {"text": "hello"})
    assert sessions.one().traces[0].tree() == ["tool tools.echo"]
    [row] = sessions.observations
    assert (row.input, row.output, row.metadata["mcp_server"]) == ({"text": "hello"}, "hello", "tools")
    assert row.metadata["mcp_protocol_version"] == "2025-11-25"


async def test_a_server_that_is_not_there_is_a_failed_call(sessions: RecordedSessions) -> None:
    """The process cannot be started: one ERROR row that says why."""
    instrument()
    with pytest.raises(BaseException):  # noqa: B017, PT011  whatever the transport raises
        await BasicMCPClient("no-such-program").call_tool("echo", {"text": "hello"})
    [row] = sessions.trace().observations
    assert (row.name, row.level) == ("mcp.echo", "ERROR")
    assert "no-such-program" in str(row.status_message)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, for what LlamaIndex does in a workflow's init
async def test_an_agents_tool_is_one_row(client: BasicMCPClient, llamaindex: None, sessions: RecordedSessions) -> None:
    """The tool run of LlamaIndex's agent is the row of the call."""

    def reply(messages: Any, **options: Any) -> ChatMessage:
        if messages[-1].role != MessageRole.TOOL:
            call = ToolCallBlock(tool_call_id="c-1", tool_name="echo", tool_kwargs={"text": "hello"})
            return ChatMessage(role=MessageRole.ASSISTANT, blocks=[call])
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text="It said hello.")])

    tools = await McpToolSpec(client, allowed_tools=["echo"]).to_tool_list_async()
    model = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    agent = FunctionAgent(tools=tools, llm=model, streaming=False)
    with langfuse_manager.session("session-a", "user-a"):
        await agent.run("go")
    trace = sessions.one().traces[0]
    rows = [found for found in trace.observations if found.type == "tool"]
    assert [found.name for found in rows] == ["tools.echo"]
    assert rows[0].metadata["mcp_tool"] == "echo"
    assert (rows[0].session_id, rows[0].user_id) == ("session-a", "user-a")
    assert "echo" not in [found.name for found in trace.observations]

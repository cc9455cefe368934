"""MCP tools inside of LlamaIndex's agents: one row per call, the server named."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

pytest.importorskip("llama_index.tools.mcp")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

import langfuse_integration_mcp
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, call, calls, lookup, tool
from peers.mcp_servers import stdio_parameters
from peers.mcp_tools import PICTURE

pytestmark = [pytest.mark.asyncio, pytest.mark.mcp]


@pytest.fixture(autouse=True)
def mcp_recorded() -> Iterator[None]:
    """MCP is recorded during the test."""
    langfuse_integration_mcp.instrument()
    yield
    langfuse_integration_mcp.uninstrument()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[BasicMCPClient]:
    """LlamaIndex's client of the tests' server."""
    parameters = stdio_parameters()
    made = BasicMCPClient(sys.executable, args=parameters.args, env=parameters.env)
    yield made
    await made.http_client.aclose()


async def run(client: BasicMCPClient, *script: object) -> None:
    """Run an agent that has the server's tools and one of its own."""
    tools = await McpToolSpec(client, allowed_tools=["echo", "fail", "picture"]).to_tool_list_async()
    llm = ScriptedLLM(list(script))  # type: ignore[arg-type]
    with langfuse_manager.session("s-1", "u-1"):
        await FunctionAgent(name="helper", tools=[*tools, tool(lookup)], llm=llm).run("Go.")


async def test_an_mcp_tool_is_one_act(client: BasicMCPClient, settled: RecordedSessions) -> None:
    """The act of the agent is the row of the call: server, tool, arguments and result, linked to its think."""
    await run(client, call("echo", {"text": "hello"}, "m-1"), "It said hello.")
    replay = settled.of("s-1")
    (trace,) = replay.traces
    assert trace.tree() == [{"agent helper": ["generation ScriptedLLM", "tool tools.echo", "generation ScriptedLLM"]}]
    (act,) = replay.acts
    assert (act.input, act.output) == ({"text": "hello"}, "hello")
    assert (act.metadata["mcp_server"], act.metadata["mcp_tool"]) == ("tools", "echo")
    assert (act.metadata["tool_call_id"], act.metadata["agent_name"]) == ("m-1", "helper")
    assert act.attributes["langfuse.observation.metadata.think_id"] == replay.thinks[0].id
    assert replay.users == ["u-1"]


async def test_an_mcp_tool_beside_another_tool(client: BasicMCPClient, settled: RecordedSessions) -> None:
    """Called at once, each is an act of its own; only the one of the server bears its name."""
    await run(client, calls(("echo", {"text": "hello"}, "m-1"), ("lookup", {"city": "Rome"}, "l-1")), "Done.")
    acts = {act.metadata["tool_call_id"]: (act.name, act.output) for act in settled.of("s-1").acts}
    assert acts == {"m-1": ("tools.echo", "hello"), "l-1": ("lookup", "sunny in Rome")}


async def test_an_mcp_tool_that_fails(client: BasicMCPClient, settled: RecordedSessions) -> None:
    """LlamaIndex takes the server's error for a result; the row says that it is none."""
    await run(client, call("fail", {"message": "no luck"}, "m-1"), "I cannot.")
    (act,) = settled.of("s-1").acts
    assert (act.name, act.level) == ("tools.fail", "ERROR")
    assert "no luck" in (act.status_message or "")


async def test_a_picture_of_an_mcp_tool_is_a_reference(client: BasicMCPClient, settled: RecordedSessions) -> None:
    """The act has the text and a reference to the picture; to the model, LlamaIndex itself gives base64 as text."""
    await run(client, call("picture", {"caption": "a llama"}, "m-1"), "A llama.")
    replay = settled.of("s-1")
    (act,) = replay.acts
    text, reference = act.output
    assert text == "a llama"
    assert reference.startswith("@@@langfuseMedia:type=image/png|id=")
    assert PICTURE not in str((act.input, act.output, act.metadata))

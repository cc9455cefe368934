"""Applications of LlamaIndex with MCP servers, which run the same while they are recorded and while they are replayed.

outcome = run("agent", "openai", model_url, mcp_url)
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from mcp import types

import langfuse_integration_llamaindex
import langfuse_integration_mcp
from peers.mcp_servers import ClientSide, http_session, stdio_parameters, stdio_session, text_of
from peers.replies import Reply, call, say

QUESTION = "What does the server say?"
TOOLS = ["echo", "add"]


class Places(NamedTuple):
    """Where the model and the MCP server are; the command of a server over stdio is our own interpreter."""

    model_url: str
    mcp_url: str | None
    command: str = sys.executable


def model(provider: str, places: Places) -> Any:
    """Return a client of a provider."""
    if provider == "openai":
        return OpenAI(model="gpt-4o", api_base=places.model_url + "/v1", api_key="key", max_retries=0)
    return Anthropic(model="claude-sonnet-4-5", base_url=places.model_url, api_key="key", max_retries=0)


@asynccontextmanager
async def mcp_tools(places: Places) -> AsyncIterator[list[Any]]:
    """Yield the server's tools, by LlamaIndex's client, which opens a connection for each request."""
    async with AsyncExitStack() as stack:
        parameters = stdio_parameters()
        client = BasicMCPClient(places.mcp_url or places.command, args=parameters.args, env=parameters.env)
        stack.push_async_callback(client.http_client.aclose)
        yield await McpToolSpec(client, allowed_tools=TOOLS).to_tool_list_async()


# -- the ways to call a model, each with a call of a tool between two answers


async def _called(llm: Any, places: Places, ask: Callable[[list[Any], list[ChatMessage]], Awaitable[list[Any]]]) -> Any:
    """Return the pieces of both answers, and the tool's result."""
    async with mcp_tools(places) as tools:
        history = [ChatMessage(role="user", content=QUESTION)]
        first = await ask(tools, history)
        [selected] = llm.get_tool_calls_from_response(first[-1])
        tool = next(tool for tool in tools if tool.metadata.name == selected.tool_name)
        result = await tool.acall(**selected.tool_kwargs)
        extra = {"tool_call_id": selected.tool_id}
        answer = ChatMessage(role="tool", content=str(result), additional_kwargs=extra)
        second = await ask(tools, [*history, first[-1].message, answer])
    return [list(map(shown, first)), str(result), list(map(shown, second))]


def shown(response: ChatResponse) -> Any:
    """Return all of a response as text: message, blocks, delta, raw."""
    return repr(response)


async def chat(llm: Any, places: Places) -> Any:
    """Call at once."""

    async def ask(tools: list[Any], history: list[ChatMessage]) -> list[Any]:
        return [llm.chat_with_tools(tools, chat_history=history)]

    return await _called(llm, places, ask)


async def achat(llm: Any, places: Places) -> Any:
    """Call at once, async."""

    async def ask(tools: list[Any], history: list[ChatMessage]) -> list[Any]:
        return [await llm.achat_with_tools(tools, chat_history=history)]

    return await _called(llm, places, ask)


async def stream_chat(llm: Any, places: Places) -> Any:
    """Call as a stream."""

    async def ask(tools: list[Any], history: list[ChatMessage]) -> list[Any]:
        return [piece.model_copy(deep=True) for piece in llm.stream_chat_with_tools(tools, chat_history=history)]

    return await _called(llm, places, ask)


async def astream_chat(llm: Any, places: Places) -> Any:
    """Call as a stream, async."""

    async def ask(tools: list[Any], history: list[ChatMessage]) -> list[Any]:
        stream = await llm.astream_chat_with_tools(tools, chat_history=history)
        return [piece.model_copy(deep=True) async for piece in stream]

    return await _called(llm, places, ask)


# -- agents


async def _events(handler: Any) -> Any:
    """Return what an agent streams, the results of its tools, and its answer."""
    events: list[Any] = []
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            events.append([event.current_agent_name, event.delta, event.response])
        elif isinstance(event, ToolCallResult):
            events.append([event.tool_name, event.tool_kwargs, event.tool_output.content])
    return [events, str(await handler)]


async def agent(llm: Any, places: Places) -> Any:
    """Run an agent with the server's tools."""
    async with mcp_tools(places) as tools:
        return await _events(FunctionAgent(name="herder", tools=tools, llm=llm).run(QUESTION))


async def handoffs(llm: Any, places: Places) -> Any:
    """Run two agents, the first of which hands over to the second."""
    async with mcp_tools(places) as tools:
        host = FunctionAgent(name="host", description="Greets.", llm=llm, can_handoff_to=["herder"])
        herder = FunctionAgent(name="herder", description="Knows alpacas.", tools=tools, llm=llm)
        return await _events(AgentWorkflow(agents=[host, herder], root_agent="host").run(QUESTION))


# -- questions of the server


class Modelled(ClientSide):
    """A client whose model is LlamaIndex's."""

    llm: Any = None

    async def _sample(self, context: Any, params: Any) -> Any:
        response = await self.llm.achat([ChatMessage(role="user", content=params.messages[0].content.text)])
        content = types.TextContent(type="text", text=response.message.content)
        return types.CreateMessageResult(role="assistant", content=content, model="a-model")


async def _asked(llm: Any, places: Places, name: str) -> Any:
    side = Modelled()
    side.llm = llm
    options = side.callbacks()
    connection = http_session(places.mcp_url, **options) if places.mcp_url else stdio_session(**options)
    async with connection as session:

        async def ask(text: str) -> str:
            """Ask the user, or a model."""
            arguments = {"question": text} if name == "ask" else {"prompt": text}
            return text_of(await session.call_tool(name, arguments))

        tool = FunctionTool.from_defaults(async_fn=ask, name=name)
        outcome = await _events(FunctionAgent(name="herder", tools=[tool], llm=llm).run(QUESTION))
    return [outcome, side.seen]


async def elicitation(llm: Any, places: Places) -> Any:
    """Run an agent whose tool makes the server ask the user."""
    return await _asked(llm, places, "ask")


async def sampling(llm: Any, places: Places) -> Any:
    """Run an agent whose tool makes the server ask the client's model."""
    return await _asked(llm, places, "sample")


ECHOED = [call("echo", {"text": "hay and more hay"}), say("It says hay, twice.")]
APPLICATIONS: dict[str, tuple[Callable[[Any, Places], Awaitable[Any]], list[Reply]]] = {
    "chat": (chat, ECHOED),
    "achat": (achat, ECHOED),
    "stream_chat": (stream_chat, ECHOED),
    "astream_chat": (astream_chat, ECHOED),
    "agent": (agent, ECHOED),
    "handoffs": (handoffs, [call("handoff", {"to_agent": "herder", "reason": "It knows."}), *ECHOED]),
    "elicitation": (elicitation, [call("ask", {"text": "Which animal?"}), say("An alpaca.")]),
    "sampling": (sampling, [call("sample", {"text": "Go on."}), say("Once upon a time."), say("A tale.")]),
}


def run(application: str, provider: str, model_url: str, mcp_url: str | None) -> Any:
    """Run an application to its end and return what came of it, in plain values.

    Args:
        mcp_url: None starts the server over stdio, with our own interpreter unless it is gone, too.
    """
    places = Places(model_url, mcp_url, sys.executable if not model_url.endswith(":9") else "/no/such/command")
    function, _ = APPLICATIONS[application]
    return json.loads(json.dumps(asyncio.run(function(model(provider, places), places))))  # type: ignore[arg-type]


@contextmanager
def instrumented() -> Generator[None]:
    """Trace both within the block."""
    langfuse_integration_llamaindex.instrument()
    langfuse_integration_mcp.instrument()
    try:
        yield
    finally:
        langfuse_integration_llamaindex.uninstrument()
        langfuse_integration_mcp.uninstrument()

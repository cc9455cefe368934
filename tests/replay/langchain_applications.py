"""Applications of LangChain with MCP servers, which run the same while they are recorded and while they are replayed.

outcome = run("stream", "openai", model_url, mcp_url)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from mcp import ClientSession, types
from pydantic import SecretStr

import langfuse_integration_langchain
import langfuse_integration_mcp
from peers.mcp_servers import ClientSide, http_session, stdio_session, text_of
from peers.replies import Reply, ToolCall, call, calls, say

QUESTION = "What does the server say?"
Application = Callable[[Any, ClientSession], Awaitable[Any]]


def model(provider: str, url: str) -> Any:
    """Return a client of a provider."""
    key = SecretStr("key")
    if provider == "openai":
        return ChatOpenAI(model="gpt-5", base_url=url + "/v1", api_key=key, stream_usage=True, max_retries=0)
    return ChatAnthropic(model_name="claude-5", base_url=url, api_key=key, max_retries=0)


def tool(session: ClientSession, name: str, parameter: str = "text") -> StructuredTool:
    """Return a tool of the server as one of LangChain."""

    async def run(**arguments: Any) -> str:
        return text_of(await session.call_tool(name, arguments))

    schema = {"type": "object", "properties": {parameter: {"type": "string"}}}
    return StructuredTool(name=name, description=f"Calls {name}.", args_schema=schema, coroutine=run)


async def _invoke(llm: Any, messages: list[BaseMessage]) -> list[Any]:
    return [llm.invoke(messages)]


async def _ainvoke(llm: Any, messages: list[BaseMessage]) -> list[Any]:
    return [await llm.ainvoke(messages)]


async def _stream(llm: Any, messages: list[BaseMessage]) -> list[Any]:
    return list(llm.stream(messages))


async def _astream(llm: Any, messages: list[BaseMessage]) -> list[Any]:
    return [chunk async for chunk in llm.astream(messages)]


def _called(ask: Callable[[Any, list[BaseMessage]], Awaitable[list[Any]]]) -> Application:
    """Return an application that asks a model, calls the tool that it asks for, and asks again."""

    async def application(llm: Any, session: ClientSession) -> Any:
        echo = tool(session, "echo")
        bound = llm.bind_tools([echo])
        first = await ask(bound, [HumanMessage(QUESTION)])
        answer = sum(first[1:], first[0])
        [asked] = answer.tool_calls
        result = await echo.ainvoke(asked)
        assert isinstance(result, ToolMessage)
        second = await ask(bound, [HumanMessage(QUESTION), answer, result])
        return [*map(_plain, first), result.content, *map(_plain, second)]

    return application


def _plain(message: BaseMessage) -> Any:
    return message.model_dump(mode="json")


async def agent(llm: Any, session: ClientSession) -> Any:
    """Run an agent with two tool calls at the same time; the user gets tokens as they come."""
    made: Any = create_agent(llm, [tool(session, "echo")], system_prompt="Be short.", name="herder")
    parts: list[Any] = []
    async for mode, part in made.astream({"messages": [("user", QUESTION)]}, stream_mode=["messages", "values"]):
        if mode == "messages" and part[0].type != "tool":  # tools end in any order
            parts.append(part[0].content)
    return [*parts, [message.content for message in part["messages"]]]


class _Answering(ClientSide):
    """A client whose model is LangChain's."""

    llm: Any = None

    async def _sample(self, context: Any, params: Any) -> Any:
        self._saw("sampling/createMessage", params.messages[0].content.text)
        answer = await self.llm.ainvoke(params.messages[0].content.text)
        content = types.TextContent(type="text", text=answer.text)
        return types.CreateMessageResult(role="assistant", content=content, model="a-model")


def _asking(name: str, parameter: str) -> Application:
    """Return an application whose tool makes the server ask the user, or the client's model."""

    async def application(llm: Any, session: ClientSession) -> Any:
        made: Any = create_agent(llm, [tool(session, name, parameter)], name="herder")
        state = await made.ainvoke({"messages": [("user", QUESTION)]})
        return [message.content for message in state["messages"]]

    return application


ECHOED = [call("echo", {"text": "hay and more hay"}), say("It says hay, twice.")]
BOTH = calls(ToolCall("echo", {"text": "hay"}, "c1"), ToolCall("echo", {"text": "straw"}, "c2"))
APPLICATIONS: dict[str, tuple[Application, list[Reply]]] = {
    "invoke": (_called(_invoke), ECHOED),
    "ainvoke": (_called(_ainvoke), ECHOED),
    "stream": (_called(_stream), ECHOED),
    "astream": (_called(_astream), ECHOED),
    "agent": (agent, [BOTH, say("Both of them.")]),
    "elicitation": (_asking("ask", "question"), [call("ask", {"question": "Which animal?"}), say("An alpaca.")]),
    "sampling": (_asking("sample", "prompt"), [call("sample", {"prompt": "Go on."}), say("Once."), say("A tale.")]),
}


def run(application: str, provider: str, model_url: str, mcp_url: str | None, **options: Any) -> Any:
    """Run an application to its end and return what came of it, in plain values.

    Args:
        mcp_url: None starts the server over stdio; *options* are then those of `stdio_session`.
    """

    async def main() -> Any:
        side = _Answering()
        side.llm = model(provider, model_url)
        callbacks = side.callbacks()
        connection = http_session(mcp_url, **callbacks) if mcp_url else stdio_session(**options, **callbacks)
        async with connection as session:
            outcome = await APPLICATIONS[application][0](side.llm, session)
        return [outcome, side.seen]

    return json.loads(json.dumps(asyncio.run(main())))


@contextmanager
def instrumented() -> Generator[None]:
    """Trace both within the block."""
    langfuse_integration_langchain.instrument()
    langfuse_integration_mcp.instrument()
    try:
        yield
    finally:
        langfuse_integration_langchain.uninstrument()
        langfuse_integration_mcp.uninstrument()

"""Two agents that answer from the library of one MCP server, and two users who talk to them at the same time.

ada's agent is built with LangChain, bob's with LlamaIndex. Four lines are about sessions: `wrap_session`,
`callbacks=[SessionHandler()]`, `instrument()` for LlamaIndex and, for each user, `set_session`. Nothing here traces a
step by hand.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import StructuredTool, ToolException
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from model import ScriptedModel

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_mcp import wrap_session

LLAMA_MCP = Path(__file__).parents[1] / "llama_mcp" / "server.py"
PROMPT = "Answer from the articles of the library: search first, read the article that fits best, then answer shortly."

QUESTIONS = {
    "ada": ("Would a llama guard my sheep against dogs?", "How much can it carry on a long trek in the mountains?"),
    "bob": ("What should I record of each step of an agent?", "And what belongs to a session?"),
}
"""The questions of each user, in order."""


@asynccontextmanager
async def llama_mcp() -> AsyncIterator[ClientSession]:
    """Start the MCP server as a process of its own, and yield a session with it over stdio."""
    server = StdioServerParameters(command=sys.executable, args=[str(LLAMA_MCP)])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        wrap_session(session, server_name="llama-mcp")
        await session.initialize()
        yield session


async def tools_of(session: ClientSession) -> list[StructuredTool]:
    """Return the server's tools as tools of LangChain."""
    return [_tool(session, listed) for listed in (await session.list_tools()).tools]


def _tool(session: ClientSession, listed: Any) -> StructuredTool:
    async def call(**arguments: Any) -> str:
        return await call_tool(session, listed.name, arguments)

    schema = getattr(listed, "input_schema", None) or listed.inputSchema  # mcp 2, mcp 1
    return StructuredTool(
        name=listed.name, description=listed.description, args_schema=schema, coroutine=call, handle_tool_error=True
    )


async def call_tool(session: ClientSession, name: str, arguments: dict[str, Any]) -> str:
    """Return what a tool of the server answers, as text."""
    result: Any = await session.call_tool(name, arguments)
    text = "\n".join(part.text for part in result.content if part.type == "text")
    if result.is_error if hasattr(result, "is_error") else result.isError:  # mcp 2, mcp 1
        raise ToolException(text)
    return text


Answer = Callable[[str], Awaitable[str]]


async def with_langchain(model: BaseChatModel, session: ClientSession) -> Answer:
    """Return a function that answers questions and remembers them, by an agent of LangChain."""
    agent: Any = create_agent(model, await tools_of(session), system_prompt=PROMPT, name="librarian")
    messages: list[AnyMessage] = []

    async def answer(question: str) -> str:
        messages.append(HumanMessage(question))
        state = await agent.ainvoke({"messages": messages}, {"callbacks": [SessionHandler()]})
        messages[:] = state["messages"]
        return str(messages[-1].text)

    return answer


async def with_llamaindex(session: ClientSession) -> Answer:
    """Return a function that answers questions and remembers them, by an agent of LlamaIndex."""
    import llama

    from langfuse_integration_llamaindex import instrument

    instrument()
    return llama.agent((await session.list_tools()).tools, partial(call_tool, session), PROMPT)


async def conversation(answer: Answer, user: str, session_id: str) -> None:
    """Let one user ask one question after the other, in a session."""
    langfuse_manager.set_session(session_id, user_id=user)
    for question in QUESTIONS[user]:
        print(f"{user}: {question}", flush=True)
        print(f"agent, to {user}: {await answer(question)}", flush=True)


async def main(model: BaseChatModel | None, run: str) -> None:
    """Serve both users at once, over one connection to the MCP server, in a session `demo-USER-RUN` each.

    Args:
        model: a provider's model for both, with LangChain; None takes the scripted ones, which need no key.
    """
    async with llama_mcp() as session:
        ada = await with_langchain(model or ScriptedModel(), session)
        bob = await (with_langchain(model, session) if model else with_llamaindex(session))
        await asyncio.gather(conversation(ada, "ada", f"demo-ada-{run}"), conversation(bob, "bob", f"demo-bob-{run}"))

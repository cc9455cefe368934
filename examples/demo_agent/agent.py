"""An agent that answers from the library of an MCP server, and two users who talk to it at the same time.

Three lines are about sessions: `wrap_session`, `callbacks=[SessionHandler()]` and, for each user, `set_session`.
Nothing here traces a step by hand.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.tools import StructuredTool, ToolException
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_mcp import wrap_session

LLAMA_MCP = Path(__file__).parents[1] / "llama_mcp" / "server.py"
PROMPT = "Answer from the articles of the library: search first, read the article that fits best, then answer shortly."

QUESTIONS = {
    "ada": ("Would a llama guard my sheep against dogs?", "How much can it carry on a long trek in the mountains?"),
    "bob": ("What should I record of each step of an agent?", "And what belongs to a session?"),
}
"""What each user asks, one question after the other."""


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
    return [_tool(session, found) for found in (await session.list_tools()).tools]


def _tool(session: ClientSession, found: Any) -> StructuredTool:
    async def call(**arguments: Any) -> str:
        result: Any = await session.call_tool(found.name, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        if getattr(result, "is_error", getattr(result, "isError", False)):  # mcp 2, mcp 1
            raise ToolException(text)
        return text

    schema = getattr(found, "input_schema", None) or found.inputSchema  # mcp 2, mcp 1
    return StructuredTool(
        name=found.name, description=found.description, args_schema=schema, coroutine=call, handle_tool_error=True
    )


async def conversation(agent: Any, user: str, session_id: str) -> None:
    """Let one user ask one question after the other, in a session."""
    langfuse_manager.set_session(session_id, user_id=user)
    messages: list[AnyMessage] = []
    for question in QUESTIONS[user]:
        print(f"{user}: {question}", flush=True)
        messages.append(HumanMessage(question))
        state = await agent.ainvoke({"messages": messages}, {"callbacks": [SessionHandler()]})
        messages = state["messages"]
        print(f"agent, to {user}: {messages[-1].text}", flush=True)


async def main(model: BaseChatModel, run: str) -> None:
    """Serve all users at once: one agent, one connection to the MCP server, a session `demo-USER-RUN` for each."""
    async with llama_mcp() as session:
        agent = create_agent(model, await tools_of(session), system_prompt=PROMPT, name="librarian")
        await asyncio.gather(*(conversation(agent, user, f"demo-{user}-{run}") for user in QUESTIONS))

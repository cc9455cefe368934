"""LangChain, LlamaIndex and MCP in one application, as Langfuse receives it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph")
pytest.importorskip("llama_index.core")

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool as langchain_tool
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.tools import FunctionTool
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from langfuse_integration import configure, langfuse_manager
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_llamaindex import instrument, uninstrument
from langfuse_integration_mcp import wrap_session
from llamaindex import scripted
from peers.otlp import Receiver, Span, tree
from scripted_chat import ScriptedChat, call

# What LlamaIndex warns itself of: its workflows look at every attribute of an agent.
pytestmark = [
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]

SERVER = Path(__file__).parents[2] / "examples" / "llama_mcp" / "server.py"
Search = Callable[[str], Awaitable[str]]


@asynccontextmanager
async def llama_mcp() -> AsyncIterator[Search]:
    """Yield a function that asks llama-mcp, a process of its own, over stdio."""
    server = StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        wrap_session(session, server_name="llama-mcp")
        await session.initialize()

        async def search(query: str) -> str:
            result: Any = await session.call_tool("search", {"query": query})
            return str(result.content[0].text)

        yield search


def langchain_agent(search: Search) -> Any:
    """Return a LangChain agent: its tool asks llama-mcp, then a LlamaIndex query engine."""
    documents = [Document(text="A llama carries a quarter of its weight.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=8))
    engine = index.as_query_engine(llm=scripted.TextLLM(["30 kilograms"]), similarity_top_k=1)

    @langchain_tool
    async def research(query: str) -> str:
        """Find out about something."""
        await search(query)
        return str(await engine.aquery(query))

    model = ScriptedChat(call("research", {"query": "llama load"}, "call-1"), "30 kilograms.")
    return create_agent(model, [research], name="carrier")


def llamaindex_agent(search: Search) -> FunctionAgent:
    """Return a LlamaIndex agent: its tool asks llama-mcp, then runs a LangChain chain."""
    prompt = ChatPromptTemplate.from_messages([("human", "Shorten: {text}")])
    chain = prompt | ScriptedChat("short") | StrOutputParser()

    async def shorten(query: str) -> str:
        """Find out about something, in short."""
        return await chain.ainvoke({"text": await search(query)}, {"callbacks": [SessionHandler()]})

    def reply(messages: Any) -> Any:
        answered = any(message.role == MessageRole.TOOL for message in messages)
        return "done" if answered else scripted.call("shorten", {"query": "llama"}, "call-1")

    return FunctionAgent(
        name="shortener", tools=[FunctionTool.from_defaults(async_fn=shorten)], llm=scripted.ScriptedLLM(reply)
    )


async def both(ada: str, bob: str) -> None:
    """Let two users talk to the two agents at the same time, over one connection to llama-mcp."""
    async with llama_mcp() as search:
        one, two = langchain_agent(search), llamaindex_agent(search)
        langfuse_manager.clear_session()

        async def first() -> None:
            langfuse_manager.set_session(ada, user_id="ada")
            await one.ainvoke({"messages": [("user", "How much?")]}, {"callbacks": [SessionHandler()]})

        async def second() -> None:
            langfuse_manager.set_session(bob, user_id="bob")
            await two.run("In short?")

        await asyncio.gather(first(), second())


def label(span: Span) -> str:
    """Return type and name, as Langfuse shows them."""
    return f"{span.attributes['langfuse.observation.type']} {span.name}"


def test_agents_of_both_frameworks_call_each_other_and_mcp_in_one_trace_each(receiver: Receiver) -> None:
    """Each user's question is one whole trace in one session, every row once, nothing of the other's in it."""
    configure(public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url)
    instrument()
    try:
        asyncio.run(both("s-ada", "s-bob"))
    finally:
        uninstrument()
    result = langfuse_manager.flush(20)
    assert (result.pending, result.lost) == (0, 0)
    assert receiver.doubled() == {}
    spans = receiver.wait_for(result.delivered)
    of = {name: [span for span in spans if span.attributes.get("session.id") == name] for name in ("s-ada", "s-bob")}
    for name, user in (("s-ada", "ada"), ("s-bob", "bob")):
        assert {span.attributes["user.id"] for span in of[name]} == {user}
        assert len({span.trace_id for span in of[name]}) == 1
    untagged = {span.trace_id for span in spans if "session.id" not in span.attributes}
    assert not untagged & {span.trace_id for found in of.values() for span in found}

    assert tree(of["s-ada"], label) == [
        (
            "agent carrier",
            ("generation ScriptedChat",),
            (
                "tool research",
                ("tool llama-mcp.search",),
                (
                    "chain RetrieverQueryEngine",
                    ("retriever VectorIndexRetriever", ("embedding MockEmbedding",)),
                    ("chain CompactAndRefine", ("generation TextLLM",)),
                ),
            ),
            ("generation ScriptedChat",),
        ),
    ]
    assert tree(of["s-bob"], label) == [
        (
            "agent shortener",
            ("generation ScriptedLLM",),
            (
                "tool shorten",
                ("tool llama-mcp.search",),
                ("chain RunnableSequence", ("generation ScriptedChat",)),
            ),
            ("generation ScriptedLLM",),
        ),
    ]
    for found in of.values():
        think = next(span for span in found if step(span) == "think")
        (act,) = [span for span in found if step(span) == "act"]
        assert act.attributes["langfuse.observation.metadata.think_id"] == think.span_id
        assert act.attributes["langfuse.observation.metadata.tool_call_id"] == "call-1"
        assert all(span.attributes.get("langfuse.observation.input") for span in found)
        assert all(span.attributes.get("langfuse.observation.output") for span in found)


def step(span: Span) -> object:
    """Return whether a span is a think or an act."""
    return span.attributes.get("langfuse.observation.metadata.step_type")

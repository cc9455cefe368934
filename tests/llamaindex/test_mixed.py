"""LlamaIndex and LangChain in each other's tools, both calling an MCP server: one trace each, rightly nested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool as langchain_tool
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.embeddings import MockEmbedding

import langfuse_integration_langchain
import langfuse_integration_mcp
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, TextLLM, call, tool
from peers.mcp_servers import memory_session
from scripted_chat import ScriptedChat
from scripted_chat import call as langchain_call

pytestmark = [pytest.mark.langchain, pytest.mark.mcp, pytest.mark.asyncio]

QUERY = {
    "chain RetrieverQueryEngine": [
        {"retriever VectorIndexRetriever": ["embedding MockEmbedding"]},
        {"chain CompactAndRefine": ["generation TextLLM"]},
    ]
}


@pytest.fixture(autouse=True)
def all_recorded(recorded: None) -> Iterator[None]:
    """LangChain and MCP are recorded, too."""
    langfuse_integration_langchain.instrument()
    yield
    langfuse_integration_langchain.uninstrument()


@asynccontextmanager
async def mcp_server() -> AsyncIterator[Any]:
    """Open a session with an MCP server, on nobody's account."""
    with langfuse_manager.detached():
        async with memory_session() as session:
            yield langfuse_integration_mcp.wrap_session(session, server_name="llama-mcp")


@pytest.fixture
def engine(sessions: RecordedSessions) -> Any:
    """A query engine over one fact."""
    index = VectorStoreIndex.from_documents([Document(text="Alpacas hum.")], embed_model=MockEmbedding(embed_dim=4))
    sessions.clear()
    return index.as_query_engine(llm=TextLLM(lambda _: "They hum."))


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_langchain_agent_whose_tool_runs_a_query_engine(
    sessions: RecordedSessions, engine: Any, way: str
) -> None:
    """The query is below LangChain's act, and so is the MCP call."""

    @langchain_tool
    async def facts(query: str) -> str:
        """Look up facts."""
        await server.call_tool("echo", {"text": query})
        return str(await engine.aquery(query))

    @langchain_tool
    def sync_facts(query: str) -> str:
        """Look up facts."""
        return str(engine.query(query))

    used = facts if way == "async" else sync_facts
    agent = create_agent(
        ScriptedChat(langchain_call(used.name, {"query": "Alpacas?"}), "They hum."),
        [used],
        name="assistant",
    )
    async with mcp_server() as server:
        with langfuse_manager.session("s-1", "u-1"):
            await agent.ainvoke({"messages": [("user", "Alpacas?")]})
    trace = sessions.trace()
    inside: list[Any] = ["tool llama-mcp.echo", QUERY] if way == "async" else [QUERY]
    assert trace.tree() == [
        {"agent assistant": ["generation ScriptedChat", {f"tool {used.name}": inside}, "generation ScriptedChat"]}
    ]
    assert {(found.session_id, found.user_id) for found in trace.observations} == {("s-1", "u-1")}


async def test_a_llamaindex_agent_whose_tool_runs_a_chain(sessions: RecordedSessions) -> None:
    """The chain is below LlamaIndex's act, and so is the MCP call."""
    chain = ChatPromptTemplate.from_template("{question}") | ScriptedChat("They hum.") | StrOutputParser()

    async def facts(query: str) -> str:
        """Look up facts."""
        await server.call_tool("echo", {"text": query})
        return str(await chain.ainvoke({"question": query}))

    agent = FunctionAgent(
        name="helper", tools=[tool(facts)], llm=ScriptedLLM([call("facts", {"query": "Alpacas?"}), "They hum."])
    )
    async with mcp_server() as server:
        with langfuse_manager.session("s-1", "u-1"):
            await agent.run("Alpacas?")
    trace = sessions.trace()
    (root,) = trace.roots
    assert [child.label for child in root.children] == [
        "generation ScriptedLLM",
        "tool facts",
        "generation ScriptedLLM",
    ]
    act = root.children[1]
    assert act.children[0].label == "tool llama-mcp.echo"
    assert [found.type for found in act.children[1].walk()][-1] == "generation"
    assert {(found.session_id, found.user_id) for found in trace.observations} == {("s-1", "u-1")}


async def test_both_in_each_others_tools_for_two_users_at_once(sessions: RecordedSessions, engine: Any) -> None:
    """LangChain in LlamaIndex in LangChain: three deep, one trace for each user."""

    async def look(query: str) -> str:
        """Look it up."""
        await server.call_tool("echo", {"text": query})
        return str(await engine.aquery(query))

    async def use(user: str) -> None:
        inner = FunctionAgent(
            name="inner", tools=[tool(look)], llm=ScriptedLLM([call("look", {"query": user}), "They hum."])
        )

        @langchain_tool
        async def ask(query: str) -> str:
            """Ask the other agent."""
            return str(await inner.run(query))

        agent = create_agent(
            ScriptedChat(langchain_call("ask", {"query": user}), "Done."),
            [ask],
            name="outer",
        )
        with langfuse_manager.session(f"s-{user}", user):
            await agent.ainvoke({"messages": [("user", user)]})

    async with mcp_server() as server:
        await asyncio.gather(use("ada"), use("bob"))
    for user in ("ada", "bob"):
        replay = sessions.of(f"s-{user}")
        (trace,) = replay.traces
        assert trace.tree() == [
            {
                "agent outer": [
                    "generation ScriptedChat",
                    {
                        "tool ask": [
                            {
                                "agent inner": [
                                    "generation ScriptedLLM",
                                    {"tool look": ["tool llama-mcp.echo", QUERY]},
                                    "generation ScriptedLLM",
                                ]
                            }
                        ]
                    },
                    "generation ScriptedChat",
                ]
            }
        ]
        assert replay.users == [user]

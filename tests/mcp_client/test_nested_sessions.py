"""A session that the code of a node, tool or step sets around calls of an MCP server: it holds for those calls only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import START, MessagesState, StateGraph

pytest.importorskip("llama_index.core")

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step

import langfuse_integration_llamaindex
from langchain_runs import HELLO, recorded
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex import scripted
from peers.mcp_servers import ClientSide, memory_session
from scripted_chat import ScriptedChat, call

pytestmark = [
    pytest.mark.mcp,
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.asyncio,
    pytest.mark.usefixtures("instrumented"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]
OUTSIDE, INSIDE = ("s-out", "u-out"), ("s-in", "u-in")
Work = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def llamaindex_recorded() -> Iterator[None]:
    """LlamaIndex is recorded during the test."""
    langfuse_integration_llamaindex.instrument()
    yield
    langfuse_integration_llamaindex.uninstrument()


async def in_a_node(work: Work) -> list[Any]:
    """Work in a node of LangGraph; return the tree with a mark for the calls."""

    async def run(state: MessagesState) -> dict[str, Any]:
        await work()
        return {}

    graph = StateGraph(MessagesState).add_node("work", run).add_edge(START, "work").compile(name="graph")
    await graph.ainvoke(HELLO, recorded())
    return [{"chain graph": [{"chain work": CALLS}]}]


async def in_a_tool(work: Work) -> list[Any]:
    """Work in a tool of an agent of LangChain."""

    @langchain_tool("work")
    async def run(query: str) -> str:
        """Work."""
        await work()
        return query

    agent = create_agent(ScriptedChat(call("work", {"query": "hay"}), "Done."), [run], name="agent")
    await agent.ainvoke(HELLO, recorded())
    return [{"agent agent": ["generation ScriptedChat", {"tool work": CALLS}, "generation ScriptedChat"]}]


async def in_a_tool_of_llamaindex(work: Work) -> list[Any]:
    """Work in a tool of an agent of LlamaIndex."""

    async def run(query: str) -> str:
        """Work."""
        await work()
        return query

    llm = scripted.ScriptedLLM([scripted.call("work", {"query": "hay"}), "Done."])
    await FunctionAgent(name="agent", tools=[scripted.tool(run, name="work")], llm=llm).run("Go.")
    return [{"agent agent": ["generation ScriptedLLM", {"tool work": CALLS}, "generation ScriptedLLM"]}]


class Working(Workflow):
    """A workflow with one step."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    @step
    async def run_it(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Work."""
        await self.work()
        return StopEvent()


async def in_a_step(work: Work) -> list[Any]:
    """Work in a step of a workflow of LlamaIndex."""
    await Working(work).run()
    return [{"chain Working": [{"chain run_it": CALLS}]}]


ASKED = {"tool tools.ask": ["span tools.elicitation"]}
CALLS: list[Any] = ["tool tools.echo", "tool tools.echo", ASKED, "tool tools.echo"]
PLACES = [in_a_node, in_a_tool, in_a_tool_of_llamaindex, in_a_step]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["session", "set_session"])
async def test_calls_in_a_session_of_their_own(no_open_runs: RecordedSessions, place: Any, way: str) -> None:
    """The calls in the block are in its session, with what the server asks; all stand where they were made."""
    answers = ClientSide(probe=lambda: langfuse_manager.current_session_id)

    async def work() -> None:
        async with memory_session(**answers.callbacks()) as server:
            await server.call_tool("echo", {"text": "before"})
            if way == "session":
                with langfuse_manager.session(*INSIDE):
                    await server.call_tool("echo", {"text": "inside"})
                    await server.call_tool("ask", {"question": "Who?"})
                await server.call_tool("echo", {"text": "after"})
                return
            langfuse_manager.set_session(*INSIDE)
            await server.call_tool("echo", {"text": "inside"})
            await server.call_tool("ask", {"question": "Who?"})
            langfuse_manager.set_session(*OUTSIDE)
            await server.call_tool("echo", {"text": "after"})

    with langfuse_manager.session(*OUTSIDE):
        tree = await place(work)
    trace = no_open_runs.trace()
    assert trace.tree() == tree
    assert [session for _, _, session in answers.seen] == ["s-in"]
    calls = [row for row in trace.observations if "mcp_tool" in row.metadata]
    told = {str(row.input.get("text") or row.input["question"]): row for row in calls}
    assert {text: (row.session_id, row.user_id) for text, row in told.items()} == {
        "before": OUTSIDE,
        "inside": INSIDE,
        "Who?": INSIDE,
        "after": OUTSIDE,
    }
    (question,) = told["Who?"].children
    assert (question.session_id, question.user_id) == INSIDE
    others = [row for row in trace.observations if row not in (*calls, question)]
    assert {(row.session_id, row.user_id) for row in others} == {OUTSIDE}

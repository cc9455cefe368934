"""The client's spans, @observe generators and propagated attributes in asynchronous work of all three frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypedDict

import pytest
from langfuse import get_client, observe, propagate_attributes

import langfuse_integration_langchain
import langfuse_integration_llamaindex
from langfuse_integration import langfuse_manager
from peers.otlp import Receiver


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    """The adapters for LangChain and LlamaIndex record."""
    langfuse_integration_langchain.instrument()
    langfuse_integration_llamaindex.instrument()
    yield
    langfuse_integration_langchain.uninstrument()
    langfuse_integration_llamaindex.uninstrument()


@pytest.mark.langchain
def test_parallel_graphs_with_the_client_in_async_nodes(langfuse: Receiver) -> None:
    """A client's span with a run in it, and an @observe async generator with runs in it, stand below their own node."""
    from langchain_core.runnables import RunnableLambda
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        text: str

    @observe()
    async def letters(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await RunnableLambda(lambda value: value, name="in generator").ainvoke(number)
            yield number

    async def node(state: State) -> State:
        with get_client().start_as_current_observation(name="client"):
            await asyncio.sleep(0)
            await RunnableLambda(lambda value: value, name="in client").ainvoke(1)
        async for _ in letters(2):
            pass
        return state

    graph: Any = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    compiled = graph.compile(name="graph")

    async def both() -> None:
        async def one(session: str) -> None:
            with langfuse_manager.session(session):
                await compiled.ainvoke({"text": session})

        await asyncio.gather(one("s-1"), one("s-2"))

    asyncio.run(both())
    assert langfuse_manager.flush(20) == (14, 0, 0)
    tree = ("graph", ("node", ("client", ("in client",)), ("letters", ("in generator",), ("in generator",))))
    assert langfuse.trees(ordered=False) == [tree, tree]
    sessions: dict[str, set[str]] = {}
    for span in langfuse.spans:
        sessions.setdefault(span.trace_id, set()).add(span.attributes["session.id"])
    assert sorted(map(sorted, sessions.values())) == [["s-1"], ["s-2"]]


@pytest.mark.llamaindex
def test_parallel_workflows_in_propagated_sessions(langfuse: Receiver) -> None:
    """Each step's rows, the client's span in it included, have session and user of `propagate_attributes` around it."""
    from llama_index.core.llms import MockLLM
    from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

    class Flow(Workflow):
        @step
        async def answer(self, event: StartEvent) -> StopEvent:
            with get_client().start_as_current_observation(name="client"):
                await MockLLM(max_tokens=3).acomplete("hi")
            return StopEvent(result="x")

    async def both() -> None:
        async def one(session: str) -> None:
            with propagate_attributes(session_id=session, user_id=f"u-{session}"):
                await Flow().run()

        await asyncio.gather(one("s-1"), one("s-2"))

    asyncio.run(both())
    assert langfuse_manager.flush(20) == (8, 0, 0)
    assert langfuse.trees() == [("Flow", ("answer", ("client", ("MockLLM",))))] * 2
    pairs = {(span.attributes["session.id"], span.attributes["user.id"]) for span in langfuse.spans}
    assert pairs == {("s-1", "u-s-1"), ("s-2", "u-s-2")}

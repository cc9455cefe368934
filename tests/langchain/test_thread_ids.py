"""Graphs that use one thread id: a resume continues the run of its own graph, and no other's trace or session."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import main
from langgraph.types import Command, interrupt

from langchain_runs import HELLO
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, graphs
from langfuse_integration_langchain.conversations import Conversation, Threads, threads
from langfuse_integration_langchain.graphs import GraphKey
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain
ANSWER: Any = Command(resume="yes")


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    threads.clear()
    yield
    threads.clear()


class Store(InMemorySaver):
    """A checkpointer as a database is one: another object may have the same checkpoints."""


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return str(interrupt(question))


def asking(node: str, saver: Any, name: str | None = None) -> Any:
    """Return a graph with one node, which asks."""
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node(node, lambda state: {"messages": [("ai", interrupt(node))]})
    return graph.add_edge(START, node).compile(checkpointer=saver, name=name)


def agent(answer: str, saver: Any, name: str | None = None) -> Any:
    """Return an agent whose tool asks."""
    return create_agent(ScriptedChat(call("ask", {"question": "?"}), answer), [ask], checkpointer=saver, name=name)


def run(graph: Any, given: Any, session: str = "s-alice", way: str = "invoke", **configurable: str) -> None:
    """Run *graph* once in a session, in thread t-1."""
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1", **configurable}}
    with langfuse_manager.session(session):
        if way == "invoke":
            graph.invoke(given, config)
        elif way == "stream":
            list(graph.stream(given, config))
        else:
            asyncio.run(graph.ainvoke(given, config))


def outlines(sessions: RecordedSessions) -> list[tuple[str | None, list[Any]]]:
    """Return session and tree of each trace."""
    return [(trace.roots[0].session_id, trace.tree()) for trace in sessions.traces]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("session", ["s-alice", "s-bob"])
def test_two_graphs_without_names(no_open_runs: RecordedSessions, session: str, way: str) -> None:
    """Each has a checkpointer of its own: both wait, and each resume is a root of its own graph's trace."""
    first, second = asking("book", InMemorySaver()), asking("pay", InMemorySaver())
    run(first, HELLO, "s-alice", way)
    run(second, HELLO, session, way)
    run(first, ANSWER, "s-alice", way)
    run(second, ANSWER, session, way)
    assert outlines(no_open_runs) == [
        ("s-alice", [{"chain LangGraph": ["chain book"]}] * 2),
        (session, [{"chain LangGraph": ["chain pay"]}] * 2),
    ]
    assert not any("resumed" in key for trace in no_open_runs.traces for root in trace.roots for key in root.metadata)


@pytest.mark.parametrize("name", [None, "assistant"])
def test_two_agents_with_the_same_nodes(no_open_runs: RecordedSessions, name: str | None) -> None:
    """Their checkpointers tell them apart: steps and thinks are of the same agent before and after."""
    first, second = agent("One.", InMemorySaver(), name), agent("Two.", InMemorySaver(), name)
    run(first, HELLO)
    run(second, HELLO, "s-bob")
    run(first, ANSWER)
    run(second, ANSWER, "s-bob")
    for session, said in (("s-alice", "One."), ("s-bob", "Two.")):
        (trace,) = no_open_runs.of(session).traces
        assert [len(trace.roots), trace.roots[1].output["messages"][-1]["content"]] == [2, said]
        assert {act.metadata["think_id"] for act in trace.named("ask")} == {trace.named("ScriptedChat")[0].id}
    assert len(no_open_runs.traces) == 2


def test_two_graphs_with_one_database(no_open_runs: RecordedSessions) -> None:
    """One checkpointer for graphs with different nodes: the nodes tell them apart."""
    store = Store()
    run(asking("book", store), HELLO)
    run(asking("pay", Store()), HELLO, "s-bob")
    run(asking("book", store), ANSWER)
    assert [len(trace.roots) for trace in no_open_runs.traces] == [2, 1]


def test_a_graph_that_is_made_anew_for_each_request(no_open_runs: RecordedSessions) -> None:
    """Another graph object, and another checkpointer with the same checkpoints: still one trace."""
    store, later = Store(), Store()
    run(asking("book", store), HELLO)
    later.storage, later.writes, later.blobs = store.storage, store.writes, store.blobs
    run(asking("book", later), ANSWER)
    assert no_open_runs.trace().tree() == [{"chain LangGraph": ["chain book"]}] * 2


def test_a_named_graph_with_other_nodes_than_before(no_open_runs: RecordedSessions) -> None:
    """A new release of the application adds a node: the name is enough."""
    store = Store()
    run(asking("book", store, "travel"), HELLO)
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("book", lambda state: {"messages": [("ai", interrupt("book"))]}).add_node("new", lambda state: {})
    run(graph.add_edge(START, "book").add_edge("book", "new").compile(checkpointer=store, name="travel"), ANSWER)
    assert len(no_open_runs.trace().roots) == 2


def test_another_checkpoint_namespace_is_another_conversation(no_open_runs: RecordedSessions) -> None:
    """The thread id of both is the same; the namespace is part of a checkpoint's address."""
    with langfuse_manager.trace_span("root") as root:
        one, other = (GraphKey(f"Store\n{space}\nbook") for space in ("", "other"))
        memory = Threads()
        memory.remember("t-1", "LangGraph", Conversation(root), one)
    assert memory.recall("t-1", "LangGraph", one) is not None
    assert memory.recall("t-1", "LangGraph", other) is None
    assert memory.recall("t-1", "LangGraph") is None


def test_a_new_checkpointer_is_never_taken_for_one_that_is_gone() -> None:
    """Python may give both the same address; their numbers differ, and nothing keeps either alive."""
    numbers = set()
    for _ in range(50):
        numbers.add(graphs._number(InMemorySaver()))
    gc.collect()
    assert len(numbers) == 50
    assert len(graphs._numbers) < 50


def test_the_frame_that_runs_a_graph_is_still_there() -> None:
    """LangGraph 1.0 to 1.2: a method of the graph, in this module, calls the handlers; else the name has to do."""
    seen: list[Any] = []

    class Looking(SessionHandler):
        def on_chain_start(self, *arguments: Any, **options: Any) -> None:
            if options.get("parent_run_id") is None:
                seen.append(graphs.running_graph())

    graph = asking("book", InMemorySaver())
    config: Any = {"callbacks": [Looking()], "configurable": {"thread_id": "t-1"}}
    graph.invoke(HELLO, config)
    asyncio.run(graph.ainvoke(HELLO, config))
    assert main.__name__ == graphs.PREGEL
    assert [type(one).__name__ for one in seen] == ["CompiledStateGraph"] * 2
    assert all(one.checkpointer is graph.checkpointer for one in seen)
    assert graphs.running_graph() is None


def test_without_that_frame_the_name_has_to_do(no_open_runs: RecordedSessions, monkeypatch: Any) -> None:
    """In a release that runs graphs elsewhere an interrupt and its resume are one trace all the same."""
    monkeypatch.setattr(graphs, "PREGEL", "elsewhere")
    graph = asking("book", InMemorySaver())
    run(graph, HELLO)
    run(graph, ANSWER)
    assert len(no_open_runs.trace().roots) == 2

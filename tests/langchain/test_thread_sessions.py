"""LangGraph's thread as the session: only where the settings say so, and nothing else names a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from langchain_runs import HELLO
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_langchain.conversations import threads
from scripted_chat import ScriptedChat

pytestmark = pytest.mark.langchain


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    threads.clear()
    yield
    threads.clear()


def talk(state: MessagesState) -> dict[str, Any]:
    """Ask the user when told so, then a model."""
    if state["messages"][-1].content == "Ask me.":
        interrupt("what?")
    return {"messages": [ScriptedChat("Hm.").invoke(state["messages"])]}


def run(given: Any, thread: Any, *, graph: Any = None, handler: SessionHandler | None = None, **metadata: Any) -> None:
    """Run a graph once in a thread."""
    graph = graph or StateGraph(MessagesState).add_node(talk).add_edge(START, "talk").compile(name="talker")
    config = {
        "callbacks": [handler or SessionHandler()],
        "configurable": {"thread_id": thread},
        "metadata": metadata,
    }
    graph.invoke(given, config)


def sessions_of(recorded: RecordedSessions) -> list[Any]:
    return [{row.session_id for row in trace.observations} for trace in recorded.traces]


def test_by_default_a_thread_is_no_session(no_open_runs: RecordedSessions) -> None:
    """A thread's id names no session unless the settings say so."""
    run(HELLO, "t-1")
    assert sessions_of(no_open_runs) == [{None}]


def test_the_thread_names_the_session_where_nothing_else_does(no_open_runs: RecordedSessions) -> None:
    """The active session, the handler and the run's own metadata come first, the thread last."""
    configure(thread_sessions=True)
    run(HELLO, "t-1")
    run(HELLO, "t-2", langfuse_user_id="ada")
    run(HELLO, "t-3", langfuse_session_id="s-metadata")
    run(HELLO, "t-4", handler=SessionHandler(session_id="s-handler"))
    with langfuse_manager.session("s-active"):
        run(HELLO, "t-5")
    assert sessions_of(no_open_runs) == [{"t-1"}, {"t-2"}, {"s-metadata"}, {"s-handler"}, {"s-active"}]
    assert {row.user_id for row in no_open_runs.traces[1].observations} == {"ada"}


def test_a_resumed_thread_stays_in_its_session_and_trace(no_open_runs: RecordedSessions) -> None:
    """Interrupt and resume of one thread are one trace, and another thread is another session."""
    configure(thread_sessions=True)
    graph = StateGraph(MessagesState).add_node(talk).add_edge(START, "talk").compile(checkpointer=InMemorySaver())
    for thread in ("t-1", "t-2"):
        run({"messages": [("user", "Ask me.")]}, thread, graph=graph)
    for thread in ("t-2", "t-1"):
        run(Command(resume="go on"), thread, graph=graph)
    assert sessions_of(no_open_runs) == [{"t-1"}, {"t-2"}]
    assert [len(trace.roots) for trace in no_open_runs.traces] == [2, 2]


@pytest.mark.parametrize("thread", [7, "  ", "x" * 300])
def test_an_unusual_thread_id_breaks_nothing(no_open_runs: RecordedSessions, thread: Any) -> None:
    """A number names the session as text; what Langfuse cannot group by leaves the run untagged."""
    configure(thread_sessions=True)
    run(HELLO, thread)
    assert sessions_of(no_open_runs) == [{"7" if thread == 7 else None}]

"""Graphs that use one thread id: a resume continues the run of its own graph, and no other's trace or session."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import main
from langgraph.types import Command, interrupt

from langchain_runs import HELLO
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, graphs
from langfuse_integration_langchain.conversations import Conversation, Threads, threads
from langfuse_integration_langchain.graphs import UNKNOWN, GraphKey
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
    """Another graph uses the same thread id in another database: the first graph's resume is not its business."""
    store = Store()
    run(asking("book", store), HELLO)
    run(asking("pay", Store()), HELLO, "s-bob")
    run(asking("book", store), ANSWER)
    assert [len(trace.roots) for trace in no_open_runs.traces] == [2, 1]


def connected(store: Store) -> Store:
    """Return another checkpointer of the same database, as an application opens one for each request."""
    other = Store()
    other.storage, other.writes, other.blobs = store.storage, store.writes, store.blobs
    return other


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("session", ["s-alice", "s-bob"])
def test_two_databases_of_one_class(no_open_runs: RecordedSessions, session: str, way: str) -> None:
    """Two tenants' databases have the same graph and thread id, and each request its connection: no run is mixed."""
    first, second = Store(), Store()
    run(asking("book", connected(first)), HELLO, "s-alice", way)
    run(asking("book", connected(second)), HELLO, session, way)
    run(asking("book", connected(first)), ANSWER, "s-alice", way)
    run(asking("book", connected(second)), ANSWER, session, way)
    assert outlines(no_open_runs) == [
        ("s-alice", [{"chain LangGraph": ["chain book"]}] * 2),
        (session, [{"chain LangGraph": ["chain book"]}] * 2),
    ]
    assert no_open_runs.traces[0].id != no_open_runs.traces[1].id
    assert not any("resumed" in key for row in no_open_runs.observations for key in row.metadata)


def test_two_agents_in_two_databases(no_open_runs: RecordedSessions) -> None:
    """The steps of each agent go on, too: an act names the think of its own database."""
    first, second = Store(), Store()
    for store, said, session in ((first, "One.", "s-alice"), (second, "Two.", "s-bob")):
        run(agent(said, connected(store), "assistant"), HELLO, session)
    for store, said, session in ((second, "Two.", "s-bob"), (first, "One.", "s-alice")):
        resumed = create_agent(ScriptedChat(said), [ask], checkpointer=connected(store), name="assistant")
        run(resumed, ANSWER, session)
    for session, said in (("s-alice", "One."), ("s-bob", "Two.")):
        (trace,) = no_open_runs.of(session).traces
        assert trace.tree() == [
            {"agent assistant": ["generation ScriptedChat", "tool ask"]},
            {"agent assistant": ["tool ask", "generation ScriptedChat"]},
        ]
        assert trace.roots[1].output["messages"][-1]["content"] == said
        assert {act.metadata["think_id"] for act in trace.named("ask")} == {trace.named("ScriptedChat")[0].id}
        assert [think.metadata["step_index"] for think in trace.named("ScriptedChat")] == [1, 2]
        assert {row.user_id for row in trace.observations} == {None}


def test_a_resume_without_a_session_gets_that_of_its_own_database(no_open_runs: RecordedSessions) -> None:
    """The run is in the session that it was interrupted in, or in none, never in that of another database."""
    known, unknown = Store(), Store()
    run(asking("book", unknown), HELLO, "s-bob")
    threads.clear()  # as in a worker that has not seen it
    run(asking("book", known), HELLO)
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
    for store in (known, unknown):
        asking("book", connected(store)).invoke(ANSWER, config)
    assert [(trace.roots[0].session_id, len(trace.roots)) for trace in no_open_runs.traces] == [
        ("s-bob", 1),
        ("s-alice", 2),
        (None, 1),
    ]
    assert {row.session_id for row in no_open_runs.traces[1].observations} == {"s-alice"}


def test_nodes_that_take_up_their_tasks_at_once(no_open_runs: RecordedSessions) -> None:
    """Eight nodes waited and start in threads of their own: all are below the resumed root, in its trace."""
    names = [f"ask {number}" for number in range(8)]

    def compiled(store: Store) -> Any:
        graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
        for name in names:
            graph.add_node(name, lambda state: {"messages": [("ai", interrupt("?"))]})
            graph.add_edge(START, name)
        return graph.compile(checkpointer=store, name="crowd")

    store = Store()
    run(compiled(store), HELLO)
    waiting = compiled(store).get_state({"configurable": {"thread_id": "t-1"}}).interrupts
    run(compiled(connected(store)), Command(resume={one.id: "yes" for one in waiting}))
    trace = no_open_runs.trace()
    assert [root.label for root in trace.roots] == ["chain crowd"] * 2
    assert [sorted(node.label for node in root.children) for root in trace.roots] == [
        [f"chain {name}" for name in names]
    ] * 2


def broken(store: Store, *, works: bool) -> Any:
    """Return a graph whose second node fails unless it works."""

    def fail(state: Any) -> Any:
        if not works:
            raise ValueError("on purpose")
        return {}

    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("begin", lambda state: {}).add_node("end", fail)
    return graph.add_edge(START, "begin").add_edge("begin", "end").compile(checkpointer=store, name="fragile")


def test_a_run_that_failed_goes_on(no_open_runs: RecordedSessions) -> None:
    """The node that failed runs again over another connection: one more root of the trace; not for the other tenant."""
    first, second = Store(), Store()
    for store, session in ((first, "s-alice"), (second, "s-bob")):
        with pytest.raises(ValueError, match="on purpose"):
            run(broken(connected(store), works=False), HELLO, session)
    run(broken(connected(first), works=True), None, "s-alice")
    run(broken(connected(second), works=True), None, "s-bob")
    failed = {"chain fragile": ["chain begin", "chain end"]}
    assert outlines(no_open_runs) == [
        (session, [failed, {"chain fragile": ["chain end"]}]) for session in ("s-alice", "s-bob")
    ]


def stepwise(store: Store, **breakpoints: Any) -> Any:
    """Return a graph with two nodes and breakpoints."""
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("begin", lambda state: {}).add_node("end", lambda state: {})
    compiled = graph.add_edge(START, "begin").add_edge("begin", "end")
    return compiled.compile(checkpointer=store, name="stepwise", **breakpoints)


BREAKPOINTS: list[dict[str, Any]] = [{"interrupt_before": ["end"]}, {"interrupt_after": ["begin"]}]
PARTS = [{"chain stepwise": ["chain begin"]}, {"chain stepwise": ["chain end"]}]
"""The two runs of a graph that stops at a breakpoint: the roots of one trace."""


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize("stop", BREAKPOINTS, ids=str)
def test_a_breakpoint_over_another_connection(no_open_runs: RecordedSessions, way: str, stop: dict[str, Any]) -> None:
    """The checkpoint at which a run stopped is where it goes on: in its trace, and never in the other tenant's."""
    first, second = Store(), Store()
    for given in (HELLO, None):
        for store, session in ((first, "s-alice"), (second, "s-bob")):
            run(stepwise(connected(store), **stop), given, session, way)
    assert outlines(no_open_runs) == [("s-alice", PARTS), ("s-bob", PARTS)]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("stop", BREAKPOINTS, ids=str)
def test_a_breakpoint_of_one_call(no_open_runs: RecordedSessions, way: str, stop: dict[str, Any]) -> None:
    """The breakpoint is an argument of the call, and checkpoints are written at its end only."""
    store = Store()
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
    for given, breakpoints in ((HELLO, stop), (None, {})):
        graph = stepwise(connected(store))
        with langfuse_manager.session("s-alice"):
            if way == "invoke":
                graph.invoke(given, config, durability="exit", **breakpoints)
            else:
                asyncio.run(graph.ainvoke(given, config, durability="exit", **breakpoints))
    assert outlines(no_open_runs) == [("s-alice", PARTS)]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("stop", BREAKPOINTS, ids=str)
@pytest.mark.parametrize("same", [True, False])
def test_a_state_that_is_edited_at_a_breakpoint(
    no_open_runs: RecordedSessions, way: str, stop: dict[str, Any], same: bool
) -> None:
    """A person edits the state before the run goes on: the checkpoint is another one then, the trace is the same."""
    store = Store()
    run(stepwise(store, **stop), HELLO, way=way)
    saver = store if same else connected(store)
    graph = stepwise(saver, **stop)
    graph.update_state({"configurable": {"thread_id": "t-1"}}, {"messages": [("user", "Rather hay.")]})
    run(graph, None, way=way)
    assert outlines(no_open_runs) == [("s-alice", PARTS)]


def three(store: Store, stops: list[str]) -> Any:
    """Return a graph with three nodes that stops before some of them."""
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    for node, before in (("one", START), ("two", "one"), ("three", "two")):
        graph.add_node(node, lambda state: {}).add_edge(before, node)
    return graph.compile(checkpointer=store, interrupt_before=stops, name="long")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_two_breakpoints_in_turn(no_open_runs: RecordedSessions, way: str) -> None:
    """A run that goes on and stops again is resumed from there: three connections, one trace."""
    store = Store()
    for given in (HELLO, None, None):
        run(three(connected(store), ["two", "three"]), given, way=way)
    roots = [{"chain long": [f"chain {node}"]} for node in ("one", "two", "three")]
    assert outlines(no_open_runs) == [("s-alice", roots)]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_breakpoint_that_somebody_else_continues(no_open_runs: RecordedSessions, way: str) -> None:
    """An approver continues the run over another connection: two traces, each in one session, linked."""
    store = Store()
    run(stepwise(connected(store), interrupt_after=["begin"]), HELLO, "s-alice", way)
    run(stepwise(connected(store), interrupt_after=["begin"]), None, "s-boss", way)
    linked = {"chain stepwise": ["chain begin", "event resumed in another session"]}
    assert outlines(no_open_runs) == [("s-alice", [linked]), ("s-boss", PARTS[1:])]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_what_another_process_did_meanwhile_is_not_skipped(no_open_runs: RecordedSessions, way: str) -> None:
    """A run that nobody here saw stop is continued by nobody's session: not in that of the run two stops before."""
    store = Store()
    run(three(connected(store), ["two", "three"]), HELLO, "s-alice", way)
    three(connected(store), ["two", "three"]).invoke(None, {"configurable": {"thread_id": "t-1"}})
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
    graph = three(connected(store), [])
    graph.invoke(None, config) if way == "invoke" else asyncio.run(graph.ainvoke(None, config))
    assert [trace.roots[0].session_id for trace in no_open_runs.traces] == ["s-alice", None]


def test_a_run_with_too_few_steps_goes_on(no_open_runs: RecordedSessions) -> None:
    """A run that reached its limit of steps is continued with a higher one, over another connection."""
    store = Store()
    config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
    with langfuse_manager.session("s-alice"):
        with pytest.raises(GraphRecursionError):
            stepwise(connected(store)).invoke(HELLO, {**config, "recursion_limit": 1})
        stepwise(connected(store)).invoke(None, config)
    assert outlines(no_open_runs) == [("s-alice", PARTS)]


def test_nothing_keeps_what_runs_a_graph_alive(no_open_runs: RecordedSessions) -> None:
    """A run that is given up at a breakpoint's node leaves neither its loop nor its checkpointer behind."""

    async def give_up() -> weakref.ref[Any]:
        store = Store()
        config: Any = {"callbacks": [SessionHandler()], "configurable": {"thread_id": "t-1"}}
        parts = three(store, ["three"]).astream(HELLO, config)
        await anext(parts)
        await parts.aclose()
        return weakref.ref(store)

    kept = asyncio.run(give_up())
    gc.collect()
    assert kept() is None


def test_an_interrupt_after_a_breakpoint(no_open_runs: RecordedSessions) -> None:
    """What stopped without a task earlier in that thread is not resumed any more once a task waits."""
    store = Store()

    def both() -> Any:
        graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
        graph.add_node("begin", lambda state: {}).add_node("ask", lambda state: {"messages": [("ai", interrupt("?"))]})
        graph.add_edge(START, "begin").add_edge("begin", "ask")
        return graph.compile(checkpointer=store, name="both")

    run(stepwise(store, interrupt_after=["begin"]), HELLO)
    run(both(), HELLO)
    run(both(), ANSWER)
    assert [trace.tree() for trace in no_open_runs.traces] == [
        [{"chain stepwise": ["chain begin"]}],
        [{"chain both": ["chain begin", "chain ask"]}, {"chain both": ["chain ask"]}],
    ]


def test_a_functional_graph_over_another_connection(no_open_runs: RecordedSessions) -> None:
    """An entrypoint of LangGraph's functional API goes on in its trace, and only its own one."""

    def compiled(store: Store) -> Any:
        @entrypoint(checkpointer=store)
        def travel(given: Any) -> str:
            return str(interrupt("where?"))

        return travel

    first, second = Store(), Store()
    for given in ("go", ANSWER):
        for store, session in ((first, "s-alice"), (second, "s-bob")):
            run(compiled(connected(store)), given, session)
    assert [(trace.roots[0].session_id, len(trace.roots)) for trace in no_open_runs.traces] == [
        ("s-alice", 2),
        ("s-bob", 2),
    ]


def test_a_graph_that_is_made_anew_for_each_request(no_open_runs: RecordedSessions) -> None:
    """Another graph object, and another checkpointer with the same checkpoints: still one trace."""
    store = Store()
    run(asking("book", store), HELLO)
    run(asking("book", connected(store)), ANSWER)
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
        one, other = (GraphKey(f"{space}\nbook", 1) for space in ("", "other"))
        memory = Threads()
        memory.stopped("t-1", "LangGraph", one, Conversation(root))
    assert memory.last("t-1", "LangGraph", one) is not None
    assert memory.last("t-1", "LangGraph", other) is None
    assert memory.last("t-1", "LangGraph", GraphKey("\nbook", 2)) is None
    assert memory.last("t-1", "LangGraph", UNKNOWN) is None


def test_a_new_checkpointer_is_never_taken_for_one_that_is_gone() -> None:
    """Python may give both the same address; their numbers differ, and nothing keeps either alive."""
    numbers = set()
    for _ in range(50):
        numbers.add(graphs._number(InMemorySaver()))
    gc.collect()
    assert len(numbers) == 50
    assert len(graphs._numbers) < 50


def test_the_frame_that_runs_a_graph_is_still_there() -> None:
    """LangGraph 1.0 to 1.2: a method of the graph, in this module, calls the handlers."""
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


def test_a_loop_that_takes_no_weak_reference_is_done_without() -> None:
    """Nor does a node that something else runs have a loop: the run is recorded all the same."""
    assert [graphs.reference_to(loop) for loop in (None, 7, object())] == [None] * 3
    assert graphs.loop_of_node() is None
    assert graphs.left_at(object()) is None


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_release_without_that_loop(no_open_runs: RecordedSessions, monkeypatch: Any, way: str) -> None:
    """In a release that keeps it elsewhere, the same checkpointer object still goes on in its trace."""
    monkeypatch.setattr(graphs, "CALL_KEY", "elsewhere")
    store = Store()
    for given in (HELLO, None):
        run(stepwise(store, interrupt_after=["begin"]), given, way=way)
    assert outlines(no_open_runs) == [("s-alice", PARTS)]


def test_without_that_frame_the_task_is_enough(no_open_runs: RecordedSessions, monkeypatch: Any) -> None:
    """In a release that runs graphs elsewhere an interrupt and its resume are one trace all the same."""
    monkeypatch.setattr(graphs, "PREGEL", "elsewhere")
    graph = asking("book", InMemorySaver())
    run(graph, HELLO)
    run(graph, ANSWER)
    assert len(no_open_runs.trace().roots) == 2

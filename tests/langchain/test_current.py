"""Spans of others inside of tools and nodes, and runs inside of such spans: each in its place, nothing attached."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langfuse import observe
from langgraph.graph import START, StateGraph
from opentelemetry import trace as trace_api
from typing_extensions import TypedDict

from langchain_runs import HELLO, recorded
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat, ScriptedStream, call, calls

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]


@observe
def observed(value: str) -> str:
    return value


@observe
async def observed_later(value: str) -> str:
    await asyncio.sleep(0)
    return observed(value)


def foreign(value: str) -> str:
    """Work as another library would, with OpenTelemetry alone."""
    with trace_api.get_tracer("another-library").start_as_current_span("foreign") as span:
        span.set_attribute("gen_ai.operation.name", "other")
        return value


@tool
def work(query: str) -> str:
    """Work."""
    with langfuse_manager.trace_span("step"):
        observed(query)
    foreign(query)
    return query


@tool
async def work_later(query: str) -> str:
    """Work, later."""
    async with langfuse_manager.trace_span("step"):
        await observed_later(query)
    await asyncio.to_thread(foreign, query)
    return query


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_spans_inside_of_tools_stand_below_them(sessions: RecordedSessions, way: str) -> None:
    """trace_span, @observe and another library's span, in a sync and an async tool that run at the same time."""
    tools = [work, work_later] if way == "ainvoke" else [work]
    names = ("work", "work_later", "work") if way == "ainvoke" else ("work", "work", "work")
    asked = calls(*((name, {"query": str(index)}, f"c{index}") for index, name in enumerate(names)))
    agent = create_agent(ScriptedChat(asked, "Done."), tools, name="assistant")
    if way == "invoke":
        agent.invoke(HELLO, recorded())
    else:
        asyncio.run(agent.ainvoke(HELLO, recorded()))
    (root,) = sessions.trace().roots
    acts = [found for found in root.children if found.type == "tool"]
    assert [child.label for child in root.children if child.type != "tool"] == ["generation ScriptedChat"] * 2
    for act in acts:
        inner: Any = ["span observed"] if act.name == "work" else [{"span observed_later": ["span observed"]}]
        assert act.tree() == {f"tool {act.name}": [{"span step": inner}, "span foreign"]}
    assert sorted(act.name for act in acts) == sorted(names)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_spans_inside_of_nodes_stand_below_them(sessions: RecordedSessions, way: str) -> None:
    """Two nodes at once, each with spans: none lands in the other one."""

    class State(TypedDict, total=False):
        value: str

    def left(state: State) -> None:
        observed("left")
        foreign("left")

    async def right(state: State) -> None:
        await observed_later("right")

    def right_now(state: State) -> None:
        observed("right")

    graph: Any = StateGraph(State)
    graph.add_node("left", left)
    graph.add_node("right", right if way == "ainvoke" else right_now)
    graph.add_edge(START, "left")
    graph.add_edge(START, "right")
    runnable = graph.compile(name="graph")
    if way == "invoke":
        runnable.invoke({}, recorded())
    else:
        asyncio.run(runnable.ainvoke({}, recorded()))
    (root,) = sessions.trace().roots
    trees = sorted((child.tree() for child in root.children), key=str)
    inner: Any = ["span observed"] if way == "invoke" else [{"span observed_later": ["span observed"]}]
    assert trees == [{"chain left": ["span observed", "span foreign"]}, {"chain right": inner}]


def test_runs_inside_of_spans_inside_of_tools_stand_below_the_spans(sessions: RecordedSessions) -> None:
    """A tool calls an observed function that calls a model: the model stands below the function."""
    model = ScriptedChat("Hm.") | StrOutputParser()

    @observe
    def helper(question: str) -> str:
        return model.invoke(question)

    @tool
    def consult(question: str) -> str:
        """Consult."""
        with langfuse_manager.trace_span("asking"):
            return helper(question)

    create_agent(ScriptedChat(call("consult", {"question": "x"}), "Done."), [consult], name="assistant").invoke(
        HELLO, recorded()
    )
    assert sessions.trace().tree() == [
        {
            "agent assistant": [
                "generation ScriptedChat",
                {"tool consult": [{"span asking": [{"span helper": ["generation ScriptedChat"]}]}]},
                "generation ScriptedChat",
            ]
        }
    ]


def test_a_run_stands_below_the_callers_span(sessions: RecordedSessions) -> None:
    """trace_span and @observe around a chain; the chain is no trace of its own."""

    @observe
    def turn(question: str) -> Any:
        return (ScriptedChat("Hm.") | StrOutputParser()).invoke(question, recorded())

    with langfuse_manager.trace_span("request"):
        turn("x")
    assert sessions.trace().tree() == [
        {"span request": [{"span turn": [{"chain RunnableSequence": ["generation ScriptedChat"]}]}]}
    ]


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_the_consumer_of_a_stream_is_not_inside_of_it(sessions: RecordedSessions, way: str) -> None:
    """Spans that the caller opens between two parts of a stream are roots of their own; so is a run of its own."""
    steps = ScriptedStream("one two three") | StrOutputParser()
    other = ScriptedChat("Hm.")

    async def consume() -> None:
        async for _ in steps.astream("x", recorded()):
            with langfuse_manager.trace_span("between"):
                await other.ainvoke("y", recorded())

    if way == "astream":
        asyncio.run(consume())
    else:
        for _ in steps.stream("x", recorded()):
            with langfuse_manager.trace_span("between"):
                other.invoke("y", recorded())
    trees = [trace.tree() for trace in sessions.traces]
    assert trees[0] == [{"chain RunnableSequence": ["generation ScriptedStream"]}]
    assert len(trees) > 3
    assert all(tree == [{"span between": ["generation ScriptedChat"]}] for tree in trees[1:])


def test_a_span_held_open_around_a_graphs_stream_is_not_inside_of_it(sessions: RecordedSessions) -> None:
    """The caller opens a span half-way through an agent's stream: the agent's later steps do not land in it."""
    agent = create_agent(ScriptedChat(call("work", {"query": "x"}), "Done."), [work], name="assistant")
    stream = agent.stream(HELLO, recorded())
    next(stream)
    with langfuse_manager.trace_span("meanwhile"):
        for _ in stream:
            pass
    first, second = sessions.traces
    assert first.tree() == [
        {
            "agent assistant": [
                "generation ScriptedChat",
                {"tool work": [{"span step": ["span observed"]}, "span foreign"]},
                "generation ScriptedChat",
            ]
        }
    ]
    assert second.tree() == ["span meanwhile"]


def test_current_observation_is_the_tools_or_the_nodes(sessions: RecordedSessions) -> None:
    """Inside of a tool, what is updated and scored is the tool's row."""

    @tool
    async def work_out(query: str) -> str:
        """Work it out."""
        current = langfuse_manager.current_observation
        assert current is not None
        current.update(metadata={"note": query})
        current.score("quality", 0.9)
        return query

    agent = create_agent(ScriptedChat(call("work_out", {"query": "x"}), "Done."), [work_out], name="assistant")
    asyncio.run(agent.ainvoke(HELLO, recorded()))
    act = sessions.trace().one("work_out")
    assert act.metadata["note"] == "x"
    assert act.metadata["step_type"] == "act"
    assert [(score.name, f"{score.span:016x}") for score in sessions.scores] == [("quality", act.id)]
    assert langfuse_manager.current_observation is None


def test_a_thread_with_the_config_passed_on_belongs_to_the_run(sessions: RecordedSessions) -> None:
    """A plain thread that runs a chain with its function's config: below that function, in its session."""
    steps = ScriptedChat("Hm.") | StrOutputParser()

    def spread(value: str, config: RunnableConfig) -> str:
        thread = threading.Thread(target=lambda: steps.invoke(value, config))
        thread.start()
        thread.join()
        return value

    RunnableLambda(spread).invoke("x", recorded())
    assert sessions.trace().tree() == [{"chain spread": ["generation ScriptedChat"]}]


def test_a_pool_with_bound_work_keeps_the_session(sessions: RecordedSessions) -> None:
    """pool.map(bind(chain.invoke)): a trace each, all in the session of the one who bound it."""
    steps = (ScriptedChat("Hm.") | StrOutputParser()).with_config(callbacks=[SessionHandler()])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(langfuse_manager.bind(steps.invoke), ["a", "b", "c", "d"]))
    assert [trace.tree() for trace in sessions.traces] == [
        [{"chain RunnableSequence": ["generation ScriptedChat"]}]
    ] * 4


def test_late_work_of_a_tool_stays_in_its_trace(sessions: RecordedSessions) -> None:
    """A tool leaves a task behind that runs a chain after the tool has answered: still in the tool's trace."""
    left: list[asyncio.Task[Any]] = []
    go = asyncio.Event()

    @tool
    async def leave(query: str) -> str:
        """Leave a task behind."""

        async def later() -> None:
            await go.wait()
            await ScriptedChat("Late.").ainvoke("x")

        left.append(asyncio.create_task(later()))
        return query

    async def main() -> None:
        agent = create_agent(ScriptedChat(call("leave", {"query": "x"}), "Done."), [leave], name="assistant")
        await agent.ainvoke(HELLO, recorded())
        go.set()
        await left[0]

    asyncio.run(main())
    trace = sessions.trace()
    assert trace.one("leave").tree() == {"tool leave": ["generation ScriptedChat"]}
    assert not trace.one("leave").children[0].is_think

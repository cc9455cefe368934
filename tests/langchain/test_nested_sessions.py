"""A session that the code of a node, tool or step sets: it holds for what that code starts from there on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph

from langchain_runs import HELLO, recorded
from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.sessions.cells import Cell
from langfuse_integration.sessions.session import Session
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain

NAMES = ("before", "inside", "deep", "below agent", "span", "after")


def model(name: str) -> Any:
    """Return a model whose rows have a name."""
    return FakeListChatModel(responses=["Hay."]).with_config(run_name=name)


def chain(name: str) -> Any:
    """Return a chain whose model has a name; the rest of it is folded."""
    return ChatPromptTemplate.from_template("{q}") | model(name) | StrOutputParser()


def sub_agent() -> Any:
    """Return an agent of its own, whose model's rows have a name."""
    return create_agent(ScriptedChat("Done.").with_config(run_name="below agent"), [], name="sub")


def seen(sessions: RecordedSessions, *names: str) -> dict[str, tuple[Any, ...]]:
    """Return the sessions and users of the named rows."""
    return {row.name: (row.session_id, row.user_id) for row in sessions.observations if row.name in names}


def in_a_session() -> None:
    """Call models, a chain, a folded chain and an agent before, in and after a session of its own."""
    chain("before").invoke({"q": "?"})
    with langfuse_manager.session("s-in", "u-in"):
        chain("inside").invoke({"q": "?"})
        RunnableLambda(lambda _: model("deep").invoke("?"), name="chain").invoke("?")
        sub_agent().invoke(HELLO)
        with langfuse_manager.trace_span("span"):
            pass
    model("after").invoke("?")


async def in_a_session_later() -> None:
    """Do the work of `in_a_session` async, with two sessions open at once."""

    async def other() -> None:
        async with langfuse_manager.session("s-else", "u-else"):
            await model("elsewhere").ainvoke("?")

    async def deep(_: str) -> str:
        return str((await model("deep").ainvoke("?")).content)

    await chain("before").ainvoke({"q": "?"})
    beside = asyncio.create_task(other())
    async with langfuse_manager.session("s-in", "u-in"):
        await chain("inside").ainvoke({"q": "?"})
        await RunnableLambda(deep, name="chain").ainvoke("?")
        await sub_agent().ainvoke(HELLO)
        with langfuse_manager.trace_span("span"):
            pass
        await beside
    await model("after").ainvoke("?")


def node(work: Callable[[], None], work_later: Any = None) -> Any:
    """Return a graph whose node does the work."""

    def run(state: dict[str, Any]) -> dict[str, Any]:
        work()
        return state

    async def run_later(state: dict[str, Any]) -> dict[str, Any]:
        await work_later()
        return state

    builder = StateGraph(dict)
    builder.add_node("work", RunnableLambda(run, run_later, name="work"))
    return builder.add_edge(START, "work").compile()


def agent(work: Callable[[], None], work_later: Any = None) -> Any:
    """Return an agent whose tool does the work."""

    @tool("work")
    def run(query: str) -> str:
        """Work."""
        work()
        return query

    async def run_later(query: str) -> str:
        await work_later()
        return query

    run.coroutine = run_later  # type: ignore[attr-defined]
    return create_agent(ScriptedChat(call("work", {"query": "hay"}), "Done."), [run], name="helper")


def step(work: Callable[[], None], work_later: Any = None) -> Any:
    """Return a chain with a step that does the work."""

    async def run_later(value: Any) -> Any:
        await work_later()
        return value

    def run(value: Any) -> Any:
        work()
        return value

    return RunnableLambda(run, run_later) | RunnableLambda(lambda value: value, name="last")


def two_nodes(work: Callable[[], None], work_later: Any) -> Any:
    """Return a graph of two nodes, each of which is a chain that does the work twice."""
    builder = StateGraph(dict)
    for name, before in (("one", START), ("two", "one")):
        builder.add_node(name, step(work, work_later) | step(work, work_later))
        builder.add_edge(before, name)
    return builder.compile()


def run(runnable: Any, way: str = "invoke", **config: Any) -> None:
    """Run once."""
    given: Any = HELLO if runnable.name == "helper" else {"messages": []}
    if way == "invoke":
        runnable.invoke(given, recorded(**config))
    else:
        asyncio.run(runnable.ainvoke(given, recorded(**config)))


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("make", [node, agent, step])
@pytest.mark.parametrize("outer", [None, "s-out"])
def test_a_session_within_a_run(no_open_runs: RecordedSessions, make: Any, outer: str | None, way: str) -> None:
    """Whatever starts in the block is in its session, in the same trace; what is around it stays in its own."""
    user = "u-out" if outer else None
    if outer:
        with langfuse_manager.session(outer, user):
            run(make(in_a_session, in_a_session_later), way)
    else:
        run(make(in_a_session, in_a_session_later), way)
    inside = dict.fromkeys(("inside", "deep", "below agent", "span"), ("s-in", "u-in"))
    assert seen(no_open_runs, *NAMES) == {"before": (outer, user), **inside, "after": (outer, user)}
    assert seen(no_open_runs, "sub", "chain") == dict.fromkeys(("sub", "chain"), ("s-in", "u-in"))
    [trace] = no_open_runs.traces
    [root] = trace.roots
    assert (root.session_id, root.user_id) == (outer, user)
    if way == "ainvoke":
        assert seen(no_open_runs, "elsewhere") == {"elsewhere": ("s-else", "u-else")}


@pytest.mark.parametrize("make", [node, agent, step])
def test_set_session_holds_from_there_to_the_end_of_the_node(no_open_runs: RecordedSessions, make: Any) -> None:
    """What the node starts after `set_session` has that session; the rows around it do not."""

    def work() -> None:
        model("before").invoke("?")
        langfuse_manager.set_session("s-in", "u-in")
        chain("inside").invoke({"q": "?"})

    with langfuse_manager.session("s-out", "u-out"):
        run(make(work))
        assert langfuse_manager.current_session_id == "s-out"
    assert seen(no_open_runs, "before", "inside") == {"before": ("s-out", "u-out"), "inside": ("s-in", "u-in")}
    others = [row for row in no_open_runs.observations if row.name != "inside"]
    assert {(row.session_id, row.user_id) for row in others} == {("s-out", "u-out")}


def test_a_user_set_in_a_node_keeps_the_session_of_the_run(no_open_runs: RecordedSessions) -> None:
    """Session and tags stay those of the run's config or of its handler, also where another session is active."""

    def work() -> None:
        langfuse_manager.set_user("bob")
        model("inside").invoke("?")
        langfuse_manager.set_user(None)
        model("after").invoke("?")

    named = {"langfuse_session_id": "s-named", "langfuse_user_id": "ada", "langfuse_tags": ["beta"]}
    with langfuse_manager.session("s-active", "ada"):
        run(node(work), metadata=named)
    assert seen(no_open_runs, "inside", "after") == {"inside": ("s-named", "bob"), "after": ("s-named", None)}
    assert {tuple(row.attributes["langfuse.trace.tags"]) for row in no_open_runs.observations} == {("beta",)}


def test_a_handler_of_one_session_keeps_it(no_open_runs: RecordedSessions) -> None:
    """What a handler was given goes before everything, also before a session that a node sets."""
    bound = SessionHandler(session_id="s-bound", user_id="u-bound")
    node(in_a_session).invoke({"messages": []}, {"callbacks": [bound]})
    names = ("before", "inside", "deep", "below agent", "after")
    assert seen(no_open_runs, *names) == dict.fromkeys(names, ("s-bound", "u-bound"))


@pytest.mark.parametrize("expected", [(None, None), ("s-in", "u-in")])
def test_a_worker_that_a_node_left_behind(no_open_runs: RecordedSessions, expected: tuple[Any, Any]) -> None:
    """Work that outlives the node is in the session that it names itself, not in that of who started it."""

    async def left(go: asyncio.Event) -> None:
        await go.wait()
        with langfuse_manager.session(*expected) if expected[0] else langfuse_manager.detached():
            await model("left").ainvoke("?")
            await chain("left chain").ainvoke({"q": "?"})
        await model("as before").ainvoke("?")

    async def serve() -> None:
        go = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def work_later() -> None:
            tasks.append(asyncio.create_task(left(go)))

        with langfuse_manager.session("s-out", "u-out"):
            await node(lambda: None, work_later).ainvoke({"messages": []}, recorded())
        go.set()
        await tasks[0]

    asyncio.run(serve())
    assert seen(no_open_runs, "left", "left chain", "as before") == {
        "left": expected,
        "left chain": expected,
        "as before": ("s-out", "u-out"),
    }


@pytest.mark.parametrize("make", [two_nodes, step])
@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_consumer_in_a_session_changes_nothing(no_open_runs: RecordedSessions, make: Any, way: str) -> None:
    """Steps of a stream that is read in somebody else's session stay in the session of the one who asked."""

    def work() -> None:
        chain("inside").invoke({"q": "?"})

    async def work_later() -> None:
        await chain("inside").ainvoke({"q": "?"})

    async def read() -> None:
        with langfuse_manager.session("s-out", "u-out"):
            later = runnable.astream({"messages": []}, recorded())
            await anext(later)
        with langfuse_manager.session("s-else", "u-else"):
            async for _ in later:
                pass

    runnable = make(work, work_later)
    if way == "astream":
        asyncio.run(read())
    else:
        with langfuse_manager.session("s-out", "u-out"):
            stream = runnable.stream({"messages": []}, recorded())
            next(stream)
        with langfuse_manager.session("s-else", "u-else"):
            list(stream)
    assert {(row.session_id, row.user_id) for row in no_open_runs.observations} == {("s-out", "u-out")}


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ContextThreadPoolExecutor])
def test_threads_of_a_node(no_open_runs: RecordedSessions, pool: Any) -> None:
    """A thread that runs in the node's context is in the session that was set there, or sets its own."""

    def inner(name: str) -> None:
        model(name).invoke("?")

    def own(name: str) -> None:
        with langfuse_manager.session(f"s-{name}"):
            model(name).invoke("?")

    def work() -> None:
        with pool() as threads, langfuse_manager.session("s-in", "u-in"):
            for each, name in ((inner, "inherited"), (own, "first"), (own, "second")):
                threads.submit(contextvars.copy_context().run, each, name).result(60)

    with langfuse_manager.session("s-out", "u-out"):
        run(node(work))
    assert seen(no_open_runs, "inherited", "first", "second") == {
        "inherited": ("s-in", "u-in"),
        "first": ("s-first", None),
        "second": ("s-second", None),
    }


def test_tasks_of_the_functional_api(no_open_runs: RecordedSessions) -> None:
    """A task that an entrypoint starts in a session is in that session, and so is what the task calls."""

    @task
    def ask(name: str) -> str:
        return str(model(name).invoke("?").content)

    @entrypoint()
    def work(_: str) -> str:
        ask("before").result()
        with langfuse_manager.session("s-in", "u-in"):
            first = ask("inside")
        return str(first.result()) + str(ask("after").result())

    with langfuse_manager.session("s-out", "u-out"):
        work.invoke("?", recorded())
    assert seen(no_open_runs, "before", "inside", "after") == {
        "before": ("s-out", "u-out"),
        "inside": ("s-in", "u-in"),
        "after": ("s-out", "u-out"),
    }


@pytest.mark.parametrize("by", ["the node", "somebody else"])
def test_a_visit_in_which_the_session_changes(no_open_runs: RecordedSessions, by: str) -> None:
    """In a browser tab or request a session counts that the node sets; another one that begins beside it does not."""
    visit = Cell.hosted()

    def change() -> None:
        with tracing.store.visiting(visit):
            langfuse_manager.set_session("s-in", "u-in")

    def work() -> None:
        model("before").invoke("?")
        if by == "the node":
            langfuse_manager.set_session("s-in", "u-in")
        else:
            other = threading.Thread(target=change)
            other.start()
            other.join(60)
        chain("inside").invoke({"q": "?"})

    with tracing.store.visiting(visit):
        langfuse_manager.set_session("s-out", "u-out")
        run(node(work))
    expected = ("s-in", "u-in") if by == "the node" else ("s-out", "u-out")
    assert visit.session == Session("s-in", "u-in")
    assert seen(no_open_runs, "before", "inside") == {"before": ("s-out", "u-out"), "inside": expected}

"""`propagate_attributes` inside of nodes, tools and steps: it holds for what starts in the block, and ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langfuse import observe, propagate_attributes
from langgraph.graph import START, StateGraph

from langchain_runs import HELLO, recorded
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain

SEEN = ("session.id", "user.id", "langfuse.trace.name", "langfuse.trace.metadata.tenant")
THEIRS: dict[str, Any] = {
    "session_id": "s-in",
    "user_id": "u-in",
    "trace_name": "inner",
    "metadata": {"tenant": "in"},
    "tags": ["in"],
}
ADDED: dict[str, Any] = {"metadata": {"tenant": "in"}, "tags": ["in"]}


def model(name: str) -> Any:
    """Return a model whose rows have a name."""
    return FakeListChatModel(responses=["Hay."]).with_config(run_name=name)


def seen(sessions: RecordedSessions, *names: str) -> dict[str, tuple[Any, ...]]:
    """Return what the named rows say of session, user, trace name, tenant and tags."""
    rows = {row.name: row for row in sessions.observations}
    return {
        name: (
            *(rows[name].attributes.get(key) for key in SEEN),
            tuple(sorted(rows[name].attributes.get("langfuse.trace.tags", ()))),
        )
        for name in names
    }


def in_a_block(carried: dict[str, Any]) -> None:
    """Call models before, in and after a block, and in it a chain and something observed."""

    @observe(name="observed")
    def observed() -> None:
        model("below observed").invoke("?")

    model("before").invoke("?")
    with propagate_attributes(**carried):
        (ChatPromptTemplate.from_template("{q}") | model("inside") | StrOutputParser()).invoke({"q": "?"})
        RunnableLambda(lambda _: model("deep").invoke("?"), name="chain").invoke("?")
        with langfuse_manager.trace_span("span"):
            pass
        observed()
    model("after").invoke("?")


async def in_a_block_later(carried: dict[str, Any]) -> None:
    """Do the work of `in_a_block` async, with two blocks open at once."""

    @observe(name="observed")
    async def observed() -> None:
        await model("below observed").ainvoke("?")

    async def other() -> None:
        with propagate_attributes(session_id="s-else", user_id="u-else"):
            await model("elsewhere").ainvoke("?")

    async def deep(_: str) -> str:
        return str((await model("deep").ainvoke("?")).content)

    await model("before").ainvoke("?")
    beside = asyncio.create_task(other())
    with propagate_attributes(**carried):
        await (ChatPromptTemplate.from_template("{q}") | model("inside") | StrOutputParser()).ainvoke({"q": "?"})
        await RunnableLambda(deep, name="chain").ainvoke("?")
        with langfuse_manager.trace_span("span"):
            pass
        await observed()
        await beside
    await model("after").ainvoke("?")


def node(carried: dict[str, Any]) -> Any:
    """Return a graph whose node does the work."""

    def work(state: dict[str, Any]) -> dict[str, Any]:
        in_a_block(carried)
        return state

    async def work_later(state: dict[str, Any]) -> dict[str, Any]:
        await in_a_block_later(carried)
        return state

    builder = StateGraph(dict)
    builder.add_node("work", RunnableLambda(work, work_later, name="work"))
    builder.add_edge(START, "work")
    return builder.compile()


def agent(carried: dict[str, Any]) -> Any:
    """Return an agent whose tool does the work."""

    @tool
    def work(query: str) -> str:
        """Work."""
        in_a_block(carried)
        return query

    async def later(query: str) -> str:
        await in_a_block_later(carried)
        return query

    work.coroutine = later  # type: ignore[attr-defined]
    return create_agent(ScriptedChat(call("work", {"query": "hay"}), "Done."), [work], name="helper")


def step(carried: dict[str, Any]) -> Any:
    """Return a chain with a step that does the work."""

    def work(value: Any) -> Any:
        in_a_block(carried)
        return value

    async def work_later(value: Any) -> Any:
        await in_a_block_later(carried)
        return value

    return RunnableLambda(work, work_later) | RunnableLambda(lambda value: value, name="last")


OUTER = {
    "none": (contextlib.nullcontext, {}, (None, None)),
    "ours": (lambda: langfuse_manager.session("s-out", "u-out", tags=["out"]), {}, ("s-out", "u-out")),
    "theirs": (lambda: propagate_attributes(session_id="s-out", user_id="u-out", tags=["out"]), {}, ("s-out", "u-out")),
    "config": (
        contextlib.nullcontext,
        {"metadata": {"langfuse_session_id": "s-out", "langfuse_user_id": "u-out", "langfuse_tags": ["out"]}},
        ("s-out", "u-out"),
    ),
}
INSIDE = ("inside", "chain", "deep", "span", "observed", "below observed")


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("make", [node, agent, step])
@pytest.mark.parametrize("outer", OUTER)
def test_a_block_of_another_session(sessions: RecordedSessions, make: Any, outer: str, way: str) -> None:
    """Runs, spans and observed functions inside of the block have what it carries; those around it have their own."""
    run(make(THEIRS), outer, way)
    tags = ("in", "out") if outer == "theirs" else ("in",)
    assert set(seen(sessions, *INSIDE).values()) == {("s-in", "u-in", "inner", "in", tags)}
    session, user = OUTER[outer][2]
    own = (session, user, None, None, ("out",) if session else ())
    assert set(seen(sessions, "before", "after").values()) == {own}
    if way == "ainvoke":
        assert seen(sessions, "elsewhere")["elsewhere"][:2] == ("s-else", "u-else")
    assert sessions.still_open == []


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("make", [node, agent, step])
@pytest.mark.parametrize("outer", OUTER)
def test_a_block_that_adds(sessions: RecordedSessions, make: Any, outer: str, way: str) -> None:
    """A block that names no session adds to what is around it: session, user and tags stay."""
    run(make(ADDED), outer, way)
    session, user = OUTER[outer][2]
    out = ("out",) if session else ()
    assert set(seen(sessions, *INSIDE).values()) == {(session, user, None, "in", ("in", *out))}
    assert set(seen(sessions, "before", "after").values()) == {(session, user, None, None, out)}


def test_the_tree_is_the_same(sessions: RecordedSessions) -> None:
    """A block changes no row's place: one trace, each row once."""
    run(node(THEIRS), "ours", "invoke")
    before, inside, deep, after = (f"generation {name}" for name in ("before", "inside", "deep", "after"))
    below = {"span observed": ["generation below observed"]}
    assert sessions.trace().tree() == [
        {"chain LangGraph": [{"chain work": [before, inside, {"chain chain": [deep]}, "span span", below, after]}]}
    ]


@pytest.mark.parametrize("make", [node, step])
def test_a_consumer_in_a_block_changes_nothing(sessions: RecordedSessions, make: Any) -> None:
    """Steps of a stream that somebody else's block reads stay in the session of the one who asked."""
    with langfuse_manager.session("s-out", "u-out"):
        stream = make({}).stream({"messages": []}, recorded())
    with propagate_attributes(session_id="s-out", user_id="u-out"):
        next(stream)
    with propagate_attributes(**THEIRS):
        list(stream)
    assert {(row.session_id, row.user_id) for row in sessions.observations} == {("s-out", "u-out")}
    assert sessions.still_open == []


def run(runnable: Any, outer: str, way: str) -> None:
    """Run once, in what is set outside."""
    around, config, _ = OUTER[outer]
    given: Any = HELLO if runnable.name == "helper" else {"messages": []}
    with around():
        if way == "invoke":
            runnable.invoke(given, recorded(**config))
        else:
            asyncio.run(runnable.ainvoke(given, recorded(**config)))

"""A session that the code of a tool or step sets: it holds for what that code starts from there on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, TextLLM, call, tool

pytestmark = pytest.mark.asyncio

OUTSIDE = ("s-out", "u-out")
INSIDE = ("s-in", "u-in")
EXPECTED = {"before": {OUTSIDE}, "inside": {INSIDE}, "after": {OUTSIDE}}


class Asked(Event):
    """A question for another step."""


class Asking(Workflow):
    """A workflow whose steps ask models before, in and after a session."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Asked | None:
        """Ask, and let another step ask."""
        await TextLLM(["Hm."]).acomplete("before")
        with langfuse_manager.session(*INSIDE):
            await TextLLM(["Hm."]).acomplete("inside")
            await FunctionAgent(name="sub", tools=[], llm=ScriptedLLM(["Done."])).run("inside")
            ctx.send_event(Asked())

    @step
    async def ask_on(self, ev: Asked) -> StopEvent:
        """Ask once more."""
        return StopEvent(result=str(await TextLLM(["Hm."]).acomplete("after")))


def seen(sessions: RecordedSessions) -> dict[str, set[tuple[Any, ...]]]:
    """Return the sessions and users of the rows of models and below, by what they were asked."""
    said: dict[str, set[tuple[Any, ...]]] = {"before": set(), "inside": set(), "after": set()}
    for row in sessions.observations:
        asked = next((word for word in said if word in str(row.input)), None)
        if row.type in ("generation", "retriever", "embedding") and asked is not None:
            said[asked].add((row.session_id, row.user_id))
    return said


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_session_in_a_tool(settled: RecordedSessions, index: VectorStoreIndex, way: str) -> None:
    """A model and all of a query inside of the block are in its session; the models around it are not."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."))

    async def ask(question: str) -> str:
        """Ask a model."""
        await TextLLM(["Hm."]).acomplete("before")
        with langfuse_manager.session(*INSIDE):
            await TextLLM(["Hm."]).acomplete("inside")
            await engine.aquery("inside")
        return str(await TextLLM(["Hm."]).acomplete("after"))

    def sync_ask(question: str) -> str:
        """Ask a model."""
        TextLLM(["Hm."]).complete("before")
        with langfuse_manager.session(*INSIDE):
            TextLLM(["Hm."]).complete("inside")
            engine.query("inside")
        return str(TextLLM(["Hm."]).complete("after"))

    used = ask if way == "async" else sync_ask
    llm = ScriptedLLM([call(used.__name__, {"question": "x"}), "Done."])
    with langfuse_manager.session(*OUTSIDE):
        await FunctionAgent(name="helper", tools=[tool(used)], llm=llm).run("Go.")
    assert seen(settled) == EXPECTED
    [trace] = settled.traces
    assert [(root.session_id, root.user_id) for root in trace.roots] == [OUTSIDE]


async def test_a_session_in_a_step(settled: RecordedSessions) -> None:
    """A model and an agent in the block are in its session; the next step is not, though its event came from there."""
    with langfuse_manager.session(*OUTSIDE):
        await Asking().run()
    assert seen(settled) == EXPECTED
    agents = {row.session_id for row in settled.observations if row.name == "sub"}
    assert agents == {"s-in"}
    assert len(settled.traces) == 1


async def test_set_session_in_a_tool(settled: RecordedSessions) -> None:
    """What the tool starts after `set_session` has that session; the agent's next rows do not."""

    async def ask(question: str) -> str:
        """Ask a model."""
        await TextLLM(["Hm."]).acomplete("before")
        langfuse_manager.set_session(*INSIDE)
        return str(await TextLLM(["Hm."]).acomplete("inside"))

    llm = ScriptedLLM([call("ask", {"question": "x"}), "Done."])
    with langfuse_manager.session(*OUTSIDE):
        await FunctionAgent(name="helper", tools=[tool(ask)], llm=llm).run("Go.")
    assert seen(settled) == {**EXPECTED, "after": set()}
    others = [row for row in settled.observations if "inside" not in str(row.input)]
    assert {(row.session_id, row.user_id) for row in others} == {OUTSIDE}


async def test_a_thread_of_a_tool(settled: RecordedSessions) -> None:
    """A thread with the tool's context may set a session of its own."""

    def inner() -> None:
        TextLLM(["Hm."]).complete("before")
        with langfuse_manager.session(*INSIDE):
            TextLLM(["Hm."]).complete("inside")

    async def ask(question: str) -> str:
        """Ask a model."""
        await asyncio.to_thread(inner)
        return str(await TextLLM(["Hm."]).acomplete("after"))

    llm = ScriptedLLM([call("ask", {"question": "x"}), "Done."])
    with langfuse_manager.session(*OUTSIDE):
        await FunctionAgent(name="helper", tools=[tool(ask)], llm=llm).run("Go.")
    assert seen(settled) == EXPECTED


async def test_a_reader_in_a_session_changes_nothing(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """A streamed answer that is read in somebody else's session stays with the one who asked."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."), streaming=True)
    with langfuse_manager.session(*OUTSIDE):
        answer: Any = await engine.aquery("inside")
        sync_answer: Any = engine.query("inside")
    with langfuse_manager.session("s-else", "u-else"):
        assert "".join([piece async for piece in answer.async_response_gen()]) == "They hum."
        assert "".join(sync_answer.response_gen) == "They hum."
    assert {(row.session_id, row.user_id) for row in settled.observations} == {OUTSIDE}

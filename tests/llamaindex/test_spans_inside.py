"""The application's own `trace_span` inside of tools, steps and queries: what starts in it stands below it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.alpacas import QUERY, RETRIEVAL
from llamaindex.scripted import ScriptedLLM, TextLLM, call, tool

pytestmark = pytest.mark.asyncio
AGENT = {"agent other": ["generation ScriptedLLM"]}


def other() -> FunctionAgent:
    """Return an agent that answers at once."""
    return FunctionAgent(name="other", llm=ScriptedLLM(["yes"]))


class Inner(Workflow):
    """A workflow that asks a model in a span."""

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        """Ask."""
        with langfuse_manager.trace_span("inner"):
            return StopEvent(result=str(await TextLLM(["hm"]).acomplete("x")))


class Outer(Workflow):
    """A workflow that runs others in a span."""

    @step
    async def run_others(self, ev: StartEvent) -> StopEvent:
        """Run an agent, a workflow, and a model while another workflow runs."""
        with langfuse_manager.trace_span("outer"):
            await other().run("?")
            await Inner().run()
            running = Inner().run()
            TextLLM(["hm"]).complete("x")
            await running
        await TextLLM(["hm"]).acomplete("after")
        return StopEvent(result="ok")


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_spans_in_a_tool(settled: RecordedSessions, index: VectorStoreIndex, way: str) -> None:
    """An agent, models and a query stand below the span that is open around them, two deep."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."))

    async def ask(question: str) -> str:
        """Ask the other one."""
        async with langfuse_manager.trace_span("one"):
            await other().run(question)
            await TextLLM(["hm"]).acomplete("x")
            with langfuse_manager.trace_span("two"):
                await engine.aquery("x")
        return str(await TextLLM(["hm"]).acomplete("after"))

    def sync_ask(question: str) -> str:
        """Ask a model."""
        with langfuse_manager.trace_span("one"):
            TextLLM(["hm"]).complete("x")
            with langfuse_manager.trace_span("two"):
                engine.query("x")
        return str(TextLLM(["hm"]).complete("after"))

    used = ask if way == "async" else sync_ask
    model = ScriptedLLM([call(used.__name__, {"question": "why?"}), "fine"])
    with langfuse_manager.session("s-1", "u-1"):
        await FunctionAgent(name="boss", tools=[tool(used)], llm=model).run("go")
    inside: list[Any] = [*([AGENT] if way == "async" else []), "generation TextLLM", {"span two": [QUERY]}]
    act = {f"tool {used.__name__}": [{"span one": inside}, "generation TextLLM"]}
    assert settled.trace().tree() == [{"agent boss": ["generation ScriptedLLM", act, "generation ScriptedLLM"]}]
    assert {(row.session_id, row.user_id) for row in settled.observations} == {("s-1", "u-1")}


async def test_spans_in_a_step(settled: RecordedSessions) -> None:
    """Runs that a step starts in a span stand below the span; their own steps stand below them."""
    with langfuse_manager.trace_span("around"):
        await Outer().run()
    inner = {"chain Inner": [{"chain ask": [{"span inner": ["generation TextLLM"]}]}]}
    (root,) = settled.trace().tree()
    (flow,) = root["span around"]
    (step_row,) = flow["chain Outer"]
    first, after = step_row["chain run_others"]
    assert after == "generation TextLLM"
    below = first["span outer"]
    assert sorted(map(str, below)) == sorted(map(str, [AGENT, inner, inner, "generation TextLLM"]))


async def test_what_starts_beside_a_run_is_no_part_of_it(settled: RecordedSessions) -> None:
    """A span opened after a run has begun holds what its own block starts, and nothing of the run."""
    with langfuse_manager.trace_span("around"):
        running = Inner().run()
        with langfuse_manager.trace_span("beside"):
            beside = other().run("?")
            await asyncio.gather(running, beside)
    (root,) = settled.trace().roots
    trees = {child.name: [below.label for below in child.walk()][1:] for child in root.children}
    assert trees == {
        "Inner": ["chain ask", "span inner", "generation TextLLM"],
        "beside": ["agent other", "generation ScriptedLLM"],
    }


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_the_span_of_a_reader_is_no_part_of_the_answer(
    settled: RecordedSessions, index: VectorStoreIndex, way: str
) -> None:
    """A streamed answer that is read inside of another span: the model call stays below the query."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."), streaming=True)
    with langfuse_manager.trace_span("around"):
        if way == "sync":
            response: Any = engine.query("What?")
            with langfuse_manager.trace_span("reader"):
                assert "".join(response.response_gen) == "They hum."
        else:
            response = await engine.aquery("What?")
            with langfuse_manager.trace_span("reader"):
                assert "".join([piece async for piece in response.response_gen]) == "They hum."
    synthesis = {"chain CompactAndRefine": ["generation TextLLM"]}
    query = {"chain RetrieverQueryEngine": [RETRIEVAL, synthesis]}
    assert settled.trace().tree() == [{"span around": [query, "span reader"]}]

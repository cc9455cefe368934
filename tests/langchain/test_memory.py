"""What stays in memory: nothing of a run, whatever became of it."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
import weakref
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.recording.recorder import QueueRecorder
from langfuse_integration_langchain import SessionHandler, conversations, lost_runs
from scripted_chat import Hold, ScriptedChat, ScriptedStream
from stopped_worker import stopped_worker

pytestmark = pytest.mark.langchain

RUNS = int(os.environ.get("LANGFUSE_INTEGRATION_TEST_RUNS", "300"))
"""How many runs are made after the first ones; 10000 is the goal that was reached."""
FLAT_BYTES = 256 * 1024
"""What the second part may leave behind, however many runs it makes."""
HANDLER = SessionHandler()
RECORDED: Any = {"callbacks": [HANDLER]}


def worker(recorder: QueueRecorder) -> Any:
    from langfuse_integration.export.outlet import Outlet
    from langfuse_integration.export.worker import Worker

    return Worker(recorder, Outlet(), interval_s=0.001)


@pytest.fixture(autouse=True)
def kept_nowhere() -> Any:
    before = tracing.recorder.divert(worker)
    yield
    tracing.recorder.divert(before)


async def cancelled() -> None:
    """Cancel a chain, a bare model, and a model under a time-out."""
    for runnable in (ScriptedChat("x", hold=Hold()), ScriptedChat("x", hold=Hold()) | StrOutputParser()):
        task = asyncio.create_task(runnable.ainvoke("x", RECORDED))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    try:
        async with asyncio.timeout(0.001):
            await ScriptedChat("x", hold=Hold()).ainvoke("x", RECORDED)
    except TimeoutError:
        pass


async def abandoned() -> None:
    """Leave streams in the middle, closed or not."""
    steps = ScriptedStream("one two three") | StrOutputParser()
    first, second = steps.astream("x", RECORDED), steps.stream("x", RECORDED)
    await anext(first)
    await first.aclose()
    next(second)
    del second


def failed() -> None:
    """Let calls fail, one of several prompts among them."""
    try:
        prompts: Any = [[HumanMessage("1")], [HumanMessage("2")]]
        ScriptedChat("a", ValueError("b")).generate(prompts, callbacks=[HANDLER])
    except ValueError:
        pass
    try:
        (RunnableLambda(lambda value: value) | RunnableLambda(lambda value: 1 / 0)).invoke("x", RECORDED)
    except ZeroDivisionError:
        pass


def threaded(number: int) -> None:
    """Run a graph with a thread of its own, which is remembered for its next run."""
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("node", lambda state: {"messages": []})
    graph.add_edge(START, "node")
    compiled = graph.compile(checkpointer=InMemorySaver())
    compiled.invoke({"messages": [("user", "x")]}, {**RECORDED, "configurable": {"thread_id": str(number)}})


async def rounds(count: int, start: int) -> int:
    """Make about *count* runs of all sorts, and return how many."""
    made = 0
    while made < count:
        await cancelled()
        await abandoned()
        failed()
        threaded(start + made)
        (ScriptedChat("x") | StrOutputParser()).invoke("x", RECORDED)
        made += 9
        if not made % 90:
            await asyncio.sleep(0)
            gc.collect()
    return made


@pytest.mark.application
@pytest.mark.timeout(3600)
def test_after_thousands_of_runs_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled, timed out, abandoned, failed and fine: no open run, no watched id, and memory as before."""
    monkeypatch.setattr(tracing.registry, "_ended_limit", 100)
    monkeypatch.setattr(conversations.threads._conversations, "limit", 100)

    async def main() -> int:
        await rounds(200, 0)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        made = await rounds(RUNS, 100_000)
        await asyncio.sleep(0.01)
        gc.collect()
        langfuse_manager.flush(10)
        gc.collect()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        grown = sum(entry.size_diff for entry in after.compare_to(before, "filename"))
        assert grown < FLAT_BYTES, f"{grown} bytes after {made} runs"
        return made

    with langfuse_manager.session("s-alice", "alice"):
        asyncio.run(main())
    gc.collect()
    langfuse_manager.flush(10)
    assert tracing.registry.open_runs() == []
    assert len(tracing.registry) == 0
    assert not lost_runs.lost
    assert len(conversations.threads) <= 100


def test_a_row_that_waits_keeps_nothing_of_the_runs_above() -> None:
    """Where too many rows wait, each lets go of its input and output, and no other row holds them."""

    class Letter:
        """An input that is large."""

    def ask(letter: Any) -> str:
        ScriptedChat("x").invoke("x")
        return "x"

    def given() -> weakref.ref[Any]:
        letter = Letter()
        (RunnableLambda(ask) | StrOutputParser()).invoke(letter, RECORDED)  # type: ignore[arg-type]
        return weakref.ref(letter)

    with stopped_worker():
        held = given()
        gc.collect()
        assert held() is not None
        for row in tracing.recorder.queue:
            row.input = row.output = None
        gc.collect()
        assert held() is None

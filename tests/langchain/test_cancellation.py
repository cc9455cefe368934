"""What is given up half-way: cancelled calls, abandoned streams, time-outs. No error, nothing lost, nothing open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_runs import HELLO, recorded, search
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, orphans
from peers.waiting import until
from scripted_chat import Hold, ScriptedChat, ScriptedStream, call

pytestmark = pytest.mark.langchain

PARTIAL = {"role": "assistant", "content": "Alpacas "}


@pytest.fixture(autouse=True)
def no_errors(in_alices_session: None, sessions: RecordedSessions) -> Any:
    yield
    assert not [row for row in sessions.observations if row.level == "ERROR"]


async def cancelled(work: Awaitable[Any], hold: Hold) -> None:
    """Cancel *work* once it has reached the hold, and see that the cancellation arrives."""
    running = asyncio.ensure_future(work)
    await hold.until_reached()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# -- cancelled calls


def test_a_cancelled_agent_closes_its_think(sessions: RecordedSessions) -> None:
    """Cancelled while the model answers: LangChain tells the agent, and forgets the model."""
    hold = Hold()
    agent = create_agent(ScriptedChat("x", hold=hold), [search], name="assistant")
    asyncio.run(cancelled(agent.ainvoke(HELLO, recorded()), hold))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat"]}]
    assert {(found.level, found.status_message) for found in trace.observations} == {("DEFAULT", "cancelled")}
    assert sessions.still_open == []


def test_a_cancelled_chain_closes_its_generation(sessions: RecordedSessions) -> None:
    """A cancelled LCEL chain leaves its rows as cancelled."""
    hold = Hold()
    steps = ChatPromptTemplate.from_template("{question}") | ScriptedChat("x", hold=hold) | StrOutputParser()
    asyncio.run(cancelled(steps.ainvoke({"question": "x"}, recorded()), hold))
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedChat"]}]
    assert {found.status_message for found in trace.observations} == {"cancelled"}


def test_a_cancelled_bare_model_ends_with_its_task(sessions: RecordedSessions) -> None:
    """No chain around it, and LangChain tells nothing at all: the end of the task does."""
    hold = Hold()

    async def main() -> None:
        await cancelled(ScriptedChat("x", hold=hold).ainvoke("x", recorded()), hold)
        assert sessions.still_open == []

    asyncio.run(main())
    assert sessions.trace().tree() == ["generation ScriptedChat"]
    assert sessions.trace().one("ScriptedChat").status_message == "cancelled"


def test_a_model_that_timed_out_ends_while_its_task_goes_on(sessions: RecordedSessions) -> None:
    """A time-out inside of a task: nobody can end the call any more, and the next look finds it."""
    hold = Hold()

    async def main() -> None:
        model = ScriptedChat("x", hold=hold)
        try:
            async with asyncio.timeout(0.05):
                await model.ainvoke("x", recorded())
        except TimeoutError:
            pass
        await asyncio.sleep(0)  # the step of the loop that brought the time-out refers to it
        gc.collect()
        assert sessions.trace().one("ScriptedChat").status_message == "cancelled"
        assert sessions.still_open == []

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["tool", "retriever"])
def test_a_cancelled_bare_tool_or_retriever_ends_with_its_task(sessions: RecordedSessions, kind: str) -> None:
    """A bare tool or retriever ends with its cancelled task, although LangChain has no callback for that."""
    hold = Hold()

    @tool
    async def wait(query: str) -> str:
        """Wait."""
        await hold.wait_async()
        return query

    class Storage(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return []

        async def _aget_relevant_documents(
            self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
        ) -> list[Document]:
            await hold.wait_async()
            return []

    work = wait.ainvoke({"query": "x"}, recorded()) if kind == "tool" else Storage().ainvoke("x", recorded())
    asyncio.run(cancelled(work, hold))
    (found,) = sessions.observations
    assert (found.type, found.status_message) == (kind, "cancelled")


def test_a_cancelled_tool_of_an_agent_is_cancelled(sessions: RecordedSessions) -> None:
    """The think had come: it stays as it is. The act and the agent were cancelled."""
    hold = Hold()

    @tool
    async def wait(query: str) -> str:
        """Wait."""
        await hold.wait_async()
        return query

    agent = create_agent(ScriptedChat(call("wait", {"query": "x"})), [wait], name="assistant")
    asyncio.run(cancelled(agent.ainvoke(HELLO, recorded()), hold))
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedChat", "tool wait"]}]
    assert [found.status_message for found in trace.observations] == ["cancelled", None, "cancelled"]
    assert trace.one("wait").metadata["think_id"] == trace.one("ScriptedChat").id


def test_a_model_cancelled_inside_of_a_tool_that_goes_on_is_cancelled(sessions: RecordedSessions) -> None:
    """A tool gives its own model call up after a while, and answers without it."""
    hold = Hold()
    slow = ScriptedChat("x", hold=hold)

    @tool
    async def consult(question: str) -> str:
        """Consult."""
        try:
            async with asyncio.timeout(0.05):
                await slow.ainvoke(question)
        except TimeoutError:
            pass
        return "no idea"

    agent = create_agent(ScriptedChat(call("consult", {"question": "x"}), "Done."), [consult], name="assistant")
    asyncio.run(agent.ainvoke(HELLO, recorded()))
    gc.collect()
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent assistant": [
                "generation ScriptedChat",
                {"tool consult": ["generation ScriptedChat"]},
                "generation ScriptedChat",
            ]
        }
    ]
    assert [found.status_message for found in trace.named("ScriptedChat")] == [None, "cancelled", None]
    assert trace.one("consult").output == "no idea"


def test_one_cancelled_call_leaves_the_others(sessions: RecordedSessions) -> None:
    """Two chains at once, one is cancelled: the other's answer is recorded as ever."""
    hold = Hold()

    async def main() -> None:
        other = asyncio.create_task((ScriptedChat("Fine.") | StrOutputParser()).ainvoke("x", recorded()))
        await cancelled((ScriptedChat("x", hold=hold) | StrOutputParser()).ainvoke("x", recorded()), hold)
        assert await other == "Fine."

    asyncio.run(main())
    outcomes = sorted((str(trace.roots[0].output), trace.roots[0].status_message) for trace in sessions.traces)
    assert outcomes == [("Fine.", None), ("None", "cancelled")]


def test_work_that_outlives_its_chain_is_recorded_whole(sessions: RecordedSessions) -> None:
    """A function starts a call in the background and returns: the call is not cancelled, and stands below it."""
    hold = Hold()
    started: list[asyncio.Task[Any]] = []

    async def later(value: str) -> str:
        started.append(asyncio.create_task(ScriptedChat("Late.", hold=hold).ainvoke(value)))
        await hold.until_reached()
        return "early"

    async def main() -> None:
        assert await RunnableLambda(later).ainvoke("x", recorded()) == "early"
        hold.released.set()
        await started[0]

    asyncio.run(main())
    trace = sessions.trace()
    assert trace.tree() == [{"chain later": ["generation ScriptedChat"]}]
    assert (trace.roots[0].output, trace.one("ScriptedChat").output["content"]) == ("early", "Late.")
    assert {found.status_message for found in trace.observations} == {None}


# -- abandoned streams

STEPS = 13
"""Steps of the event loop within which an agent's stream ends after it was given up."""


def parts(hold: Hold | None = None) -> ScriptedStream:
    return ScriptedStream("Alpacas hum softly.", hold=hold)


def chained() -> Any:
    return ChatPromptTemplate.from_template("{question}") | parts() | StrOutputParser()


def close_sync(stream: Any) -> None:
    assert next(stream)
    stream.close()


def drop_sync(stream: Any) -> None:
    assert next(stream)
    del stream
    gc.collect()


async def close_async(stream: Any) -> None:
    assert await anext(stream)
    await stream.aclose()


async def drop_async(stream: Any) -> None:
    assert await anext(stream)
    del stream
    gc.collect()
    await asyncio.sleep(0.01)


async def cancel_async(stream: Any) -> None:
    come = asyncio.Event()

    async def consume() -> None:
        async for _ in stream:
            come.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(consume())
    await come.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stream.aclose()


ABANDONED: dict[str, Callable[[Any], Any]] = {
    "close": lambda runnable: close_sync(runnable("stream")),
    "drop": lambda runnable: drop_sync(runnable("stream")),
    "aclose": lambda runnable: asyncio.run(close_async(runnable("astream"))),
    "adrop": lambda runnable: asyncio.run(drop_async(runnable("astream"))),
    "acancel": lambda runnable: asyncio.run(cancel_async(runnable("astream"))),
}
every_way = pytest.mark.parametrize("way", ABANDONED)


@every_way
def test_an_abandoned_model_stream_keeps_what_had_come(sessions: RecordedSessions, way: str) -> None:
    """A bare model: cancelled, no error, and its first word is the output."""
    ABANDONED[way](lambda method: getattr(parts(), method)("x", recorded()))
    (found,) = sessions.trace().observations
    assert found.label == "generation ScriptedStream"
    assert (found.level, found.status_message, found.output) == ("DEFAULT", "cancelled", PARTIAL)
    assert found.first_token is not None


@every_way
def test_an_abandoned_chain_keeps_what_had_come(sessions: RecordedSessions, way: str) -> None:
    """A chain ends before what is below it: both rows come, with real input, and with what had come by then."""
    ABANDONED[way](lambda method: getattr(chained(), method)({"question": "x"}, recorded()))
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedStream"]}]
    root, generation = trace.observations
    assert (root.level, root.status_message, root.input) == ("DEFAULT", "cancelled", {"question": "x"})
    assert root.output == generation.output
    assert str(generation.output["content"]).startswith("Alpacas ")


@every_way
@pytest.mark.parametrize("mode", ["messages", "updates"])
def test_an_abandoned_agent_stream_is_no_error(sessions: RecordedSessions, way: str, mode: str) -> None:
    """An agent's stream, given up after its first part: the agent was cancelled, nothing stays open."""
    agent = create_agent(parts(), [search], name="assistant")
    ABANDONED[way](lambda method: getattr(agent, method)(HELLO, recorded(), stream_mode=mode))
    until(no_run_is_open)
    trace = sessions.trace()
    assert trace.tree() == [{"agent assistant": ["generation ScriptedStream"]}]
    assert trace.roots[0].level == "DEFAULT"
    assert str(trace.one("ScriptedStream").output["content"]).startswith("Alpacas ")


def no_run_is_open() -> bool:
    """Return whether every run has ended, those of event loops that are gone included."""
    if tracing.registry.open_runs():
        gc.collect()
        orphans.sweep()
    return not tracing.registry.open_runs()


@pytest.mark.parametrize("mode", ["messages", "updates"])
def test_a_loop_may_end_at_any_step_after_an_agent_is_given_up(sessions: RecordedSessions, mode: str) -> None:
    """At some steps LangChain ends no run (langgraph 1.2.22): the agent's row ends with the loop, as cancelled."""

    async def drop(stream: Any, steps: int) -> None:
        assert await anext(stream)
        del stream
        for _ in range(steps):
            await asyncio.sleep(0)

    agent = create_agent(parts(), [search], name="assistant")
    for steps in range(STEPS):
        asyncio.run(drop(agent.astream(HELLO, recorded(), stream_mode=mode), steps))
        until(no_run_is_open)
    assert len(sessions.traces) == STEPS
    for trace in sessions.traces:
        assert trace.tree() == [{"agent assistant": ["generation ScriptedStream"]}]
        assert {row.status_message for row in trace.roots} <= {"cancelled", None}
        assert {row.level for row in trace.observations} == {"DEFAULT"}


def test_a_stream_outlives_the_loop_in_which_it_began(sessions: RecordedSessions) -> None:
    """A sync stream whose first part is read in a loop, and the rest after it: one whole answer, not cancelled."""

    async def begin() -> Any:
        stream = chained().stream({"question": "x"}, recorded())
        next(stream)
        return stream

    stream = asyncio.run(begin())
    gc.collect()
    orphans.sweep()
    list(stream)
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["generation ScriptedStream"]}]
    assert {row.status_message for row in trace.observations} == {None}
    assert trace.roots[0].output.strip() == "Alpacas hum softly."


def test_a_stream_that_is_never_closed_is_the_collectors(sessions: RecordedSessions) -> None:
    """Kept in a cycle and forgotten: collecting the garbage ends it, in whatever thread that happens."""
    cycle: dict[str, Any] = {"stream": chained().stream({"question": "x"}, recorded())}
    cycle["self"] = cycle
    assert next(cycle["stream"])
    del cycle
    gc.collect()
    assert sessions.trace().roots[0].status_message == "cancelled"


# -- one of several


def test_of_several_prompts_one_fails_and_none_stays_open(sessions: RecordedSessions) -> None:
    """generate([a, b, c]) with b failing: LangChain ends b only. The others have no answer, and are no errors."""
    model = ScriptedChat("a", ValueError("b"), "c")
    prompts: Any = [[HumanMessage("1")], [HumanMessage("2")], [HumanMessage("3")]]
    try:
        model.generate(prompts, callbacks=[SessionHandler()])
    except ValueError:
        pass
    gc.collect()
    found = {row.input[0]["content"]: (row.level, row.status_message) for row in sessions.observations}
    assert found == {"1": ("DEFAULT", "cancelled"), "2": ("ERROR", "ValueError: b"), "3": ("DEFAULT", "cancelled")}
    sessions.clear()


def test_of_several_async_prompts_one_fails_and_the_others_keep_their_answers(sessions: RecordedSessions) -> None:
    """agenerate([a, b, c]) with b failing: there LangChain ends all three."""
    model = ScriptedChat("a", ValueError("b"), "c")
    prompts: Any = [[HumanMessage("1")], [HumanMessage("2")], [HumanMessage("3")]]

    async def main() -> None:
        with pytest.raises(ValueError, match="b"):
            await model.agenerate(prompts, callbacks=[SessionHandler()])

    asyncio.run(main())
    assert [row.level for row in sessions.observations] == ["DEFAULT", "ERROR", "DEFAULT"]
    assert [row.output and row.output["content"] for row in sessions.observations] == ["a", None, "c"]
    sessions.clear()

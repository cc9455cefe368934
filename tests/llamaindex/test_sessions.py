"""Many users at once: nothing wrong, nothing missing, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.embeddings import MockEmbedding

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions, recorded_sessions
from langfuse_integration_llamaindex.generations import announced
from langfuse_integration_llamaindex.model_streams import open_streams
from langfuse_integration_llamaindex.places import Folds, SpanPlace, folds
from langfuse_integration_llamaindex.streams import _streamed_responses as streamed_responses
from llamaindex.scripted import ScriptedLLM, TextLLM, alookup, call, lookup, say, tool

EXPECTED = Counter({"agent": 1, "generation": 3, "tool": 2})


def reply(messages: Sequence[ChatMessage]) -> ChatMessage:
    """Look twice, then answer."""
    looked = sum(message.role == MessageRole.TOOL for message in messages)
    if looked < 2:
        return call(("lookup", "alookup")[looked], {"city": "Rome"}, f"c{looked}")
    return say("Sunny.")


def look_once(messages: Sequence[ChatMessage]) -> ChatMessage:
    """Look once, then answer."""
    return say("Sunny.") if messages[-1].role == MessageRole.TOOL else call("alookup", {"city": "Rome"})


def agent(streaming: bool = True) -> FunctionAgent:
    """Return an agent with a sync and an async tool."""
    return FunctionAgent(
        name="weather", tools=[tool(lookup), tool(alookup)], llm=ScriptedLLM(reply), streaming=streaming
    )


@pytest.mark.asyncio
async def test_fifty_agents_of_fifty_users_at_once(settled: RecordedSessions) -> None:
    """One shared agent object, fifty users: each session has its own rows, all of them, and no other's."""
    shared = agent()

    async def use(user: int) -> None:
        with langfuse_manager.session(f"s-{user}", f"u-{user}"):
            await shared.run(f"Weather for {user}?")

    await asyncio.gather(*map(use, range(50)))
    assert len(settled.all) == 50
    for user in range(50):
        replay = settled.of(f"s-{user}")
        assert replay.users == [f"u-{user}"]
        assert Counter(found.type for found in replay.observations) == EXPECTED
        (trace,) = replay.traces
        assert trace.roots[0].input == f"Weather for {user}?"
        assert {found.session_id for found in trace.observations} == {f"s-{user}"}


def test_threads_of_different_users(settled: RecordedSessions) -> None:
    """Sync queries in threads: each thread's rows are in its own session."""
    index = facts()
    settled.clear()
    engine = index.as_query_engine(llm=TextLLM(lambda _: "Hm."), streaming=True)
    barrier = threading.Barrier(8)

    def use(user: int) -> None:
        langfuse_manager.set_session(f"s-{user}", f"u-{user}")
        barrier.wait()
        for _ in range(5):
            str(engine.query(f"Question of {user}?"))

    threads = [threading.Thread(target=use, args=(user,)) for user in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in range(8):
        replay = settled.of(f"s-{user}")
        assert (replay.users, len(replay.traces)) == ([f"u-{user}"], 5)
        assert {len(trace.observations) for trace in replay.traces} == {5}
        assert {trace.roots[0].input for trace in replay.traces} == {f"Question of {user}?"}


@lru_cache
def facts() -> VectorStoreIndex:
    """Return an index of one fact."""
    return VectorStoreIndex.from_documents([Document(text="Alpacas hum.")], embed_model=MockEmbedding(embed_dim=4))


@settings(max_examples=8, deadline=None)
@given(order=st.lists(st.integers(0, 3), min_size=8, max_size=40))
def test_streams_read_in_any_order(order: list[int]) -> None:
    """Four users' answers, read piece by piece by whoever comes: each stays with the one who asked."""
    with recorded_sessions() as recorded:
        engine = facts().as_query_engine(llm=TextLLM(lambda _: "one two three"), streaming=True)
        answers = []
        for user in range(4):
            with langfuse_manager.session(f"asker-{user}"):
                answers.append(engine.query(f"Question of {user}?").response_gen)
        for reader, which in enumerate(order):
            with langfuse_manager.session(f"reader-{reader}"):
                next(answers[which], None)
        for answer in answers:
            answer.close()
        del answer, answers
        gc.collect()
        assert recorded.still_open == []
        for user in range(4):
            (trace,) = recorded.of(f"asker-{user}").traces
            assert trace.roots[0].input == f"Question of {user}?"
            assert {found.session_id for found in trace.observations} == {f"asker-{user}"}
        assert {replay.session_id for replay in recorded.all} == {f"asker-{user}" for user in range(4)}


@pytest.mark.asyncio
async def test_a_cleared_session_stays_cleared(settled: RecordedSessions) -> None:
    """After `clear_session` a run is untagged, also when the one before it was not."""
    langfuse_manager.set_session("s-1")
    await agent().run("Weather?")
    langfuse_manager.clear_session()
    await agent().run("Weather?")
    assert [len(replay.traces) for replay in settled.all] == [1, 1]
    assert [replay.session_id for replay in settled.all] == ["s-1", None]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_a_thousand_agent_runs_leave_nothing_behind(settled: RecordedSessions) -> None:
    """No open run, no fold, no stream, and no more objects of ours after the second half than after the first."""
    shared = FunctionAgent(tools=[tool(alookup)], llm=ScriptedLLM(look_once), streaming=False)

    async def run(count: int) -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*(shared.run(f"Weather {n}?") for n in range(start, start + 20)))
        settled.clear()
        gc.collect()

    def ours() -> Counter[str]:
        kinds = (type(held) for held in gc.get_objects())
        return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("langfuse_int"))

    await run(500)
    half = ours()
    await run(500)
    grown = {kind: count - half[kind] for kind, count in ours().items() if count > half[kind] + 50}
    # Anchors of runs that ended are kept for late children, a bounded number of them.
    grown.pop("Anchor", None)
    assert grown == {}
    assert settled.still_open == []
    assert [len(folds), len(announced), len(open_streams), len(streamed_responses)] == [0, 0, 0, 0]
    assert len(tracing.registry) == 0


def test_folds_are_bounded() -> None:
    """Spans that LlamaIndex never ends give way, the oldest first; so do the places of those that ended."""
    table = Folds(open_limit=3, ended_limit=2)
    for n in range(5):
        place = SpanPlace()
        place.key = f"row-{n}"
        table.open(f"open-{n}", place)
    assert len(table) == 3
    assert table.get("open-1") is None
    for n in (2, 3, 4):
        assert table.close(f"open-{n}") is not None
    assert [table.row_key(f"open-{n}") for n in (2, 3, 4)] == ["open-2", "row-3", "row-4"]
    assert table.close("open-4") is None


@pytest.mark.asyncio
async def test_a_task_that_outlives_its_step_stays_in_its_place(settled: RecordedSessions) -> None:
    """What a tool leaves running is below its act, also after the run has ended."""
    release = asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def later() -> None:
        await release.wait()
        await ScriptedLLM(["Hm."]).achat([ChatMessage(role="user", content="late")])

    async def start(city: str) -> str:
        """Start something."""
        left.append(asyncio.create_task(later()))
        return city

    with langfuse_manager.session("s-1"):
        llm = ScriptedLLM([call("start", {"city": "Rome"}), "Started."])
        await FunctionAgent(name="starter", tools=[tool(start)], llm=llm).run("Go.")
    release.set()
    await left[0]
    assert settled.trace().tree() == [
        {
            "agent starter": [
                "generation ScriptedLLM",
                {"tool start": ["generation ScriptedLLM"]},
                "generation ScriptedLLM",
            ]
        }
    ]
    assert {found.session_id for found in settled.observations} == {"s-1"}

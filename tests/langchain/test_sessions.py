"""Whose runs are whose: many users at once, on tasks, threads and streams, and never one under another's session."""

from __future__ import annotations

import asyncio
import gc
import itertools
import operator
import os
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.testing import RecordedSessions, recorded_sessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat, ScriptedStream, call

pytestmark = pytest.mark.langchain

SIZE = int(os.environ.get("LANGFUSE_INTEGRATION_TEST_OBSERVATIONS", "2000"))
"""About how many observations the big test makes; 100000 is the goal that was reached."""
HANDLER = SessionHandler()


@tool
def echo(word: str) -> str:
    """Echo."""
    with langfuse_manager.trace_span("inside"):
        return word


@tool
async def echo_later(word: str) -> str:
    """Echo, later."""
    with langfuse_manager.trace_span("inside"):
        await asyncio.sleep(0)
    return word


def talk() -> Any:
    """Return a chain that streams an answer with the user's own name in it."""
    prompt = ChatPromptTemplate.from_messages([("human", "{user}")])
    model = ScriptedStream(lambda asked: AIMessage(f"For {asked[-1].content} these words."))
    return prompt | model | StrOutputParser()


def helper(tools: Any) -> Any:
    """Return an agent that calls a tool with the user's own name, then answers."""

    def reply(asked: list[Any]) -> Any:
        if asked[-1].type == "tool":
            return AIMessage(f"Done for {asked[-1].content}.")
        return call(tools[0].name, {"word": str(asked[-1].content)})

    return create_agent(ScriptedChat(reply), tools, name="helper")


class Fan(TypedDict):
    user: str
    words: Annotated[list[str], operator.add]


def fan() -> Any:
    """Return a graph that talks in four branches at once."""

    def branch(state: Fan) -> Any:
        with langfuse_manager.trace_span("inside"):
            pass
        return {"words": [talk().invoke({"user": state["user"]})]}

    graph = StateGraph(Fan).add_node("branch", branch)
    graph.add_conditional_edges(START, lambda state: [Send("branch", state)] * 4, ["branch"])
    return graph.compile(name="fan")


def user_of(session_id: str) -> str:
    return session_id.replace("s-", "u-")


def mixed_up(sessions: RecordedSessions) -> list[Any]:
    """Return the observations that are not in the session of the user whose words they carry."""
    wrong: list[Any] = []
    for found in sessions.observations:
        said = {found.session_id} if found.type == "span" else set(re.findall(r"\bs-\w+", str(found.input)))
        if said != {found.session_id} or found.user_id != user_of(str(found.session_id)):
            wrong.append(found)
    return wrong


# -- one at a time


def test_a_lazy_stream_is_its_consumers(no_open_runs: RecordedSessions) -> None:
    """Made by alice, first read by bob: nothing ran before bob read it, so that all of it is bob's."""
    with langfuse_manager.session("s-alice", "u-alice"):
        stream = talk().stream({"user": "s-bob"}, {"callbacks": [HANDLER]})
    with langfuse_manager.session("s-bob", "u-bob"):
        list(stream)
    assert no_open_runs.one().session_id == "s-bob"
    assert mixed_up(no_open_runs) == []


def test_a_stream_stays_whose_it_was_when_it_began(no_open_runs: RecordedSessions) -> None:
    """Begun by alice, read to its end by bob: all of it is alice's, its end too."""
    with langfuse_manager.session("s-alice", "u-alice"):
        stream = talk().stream({"user": "s-alice"}, {"callbacks": [HANDLER]})
        next(stream)
    with langfuse_manager.session("s-bob", "u-bob"):
        list(stream)
    assert no_open_runs.one().session_id == "s-alice"
    assert mixed_up(no_open_runs) == []


def test_a_bound_handler_keeps_a_lazy_stream(no_open_runs: RecordedSessions) -> None:
    """A handler that is bound to alice holds whoever reads first."""
    stream = talk().stream({"user": "s-alice"}, {"callbacks": [SessionHandler("s-alice", "u-alice")]})
    with langfuse_manager.session("s-bob", "u-bob"):
        list(stream)
    assert no_open_runs.one().session_id == "s-alice"
    assert mixed_up(no_open_runs) == []


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
@settings(deadline=None, max_examples=12)
def test_interleaved_streams_never_mix(order: list[int]) -> None:
    """Four users' streams, read in any order, some left in the middle and closed by another user."""
    with recorded_sessions() as sessions:
        streams: dict[int, Any] = {}
        for index in order:
            with langfuse_manager.session(f"s-{index}", f"u-{index}"):
                if index not in streams:
                    streams[index] = talk().stream({"user": f"s-{index}"}, {"callbacks": [HANDLER]})
                next(streams[index], None)
        with langfuse_manager.session("s-closer", "u-closer"):
            for stream in streams.values():
                stream.close()
        streams.clear()
        gc.collect()
        assert mixed_up(sessions) == []
        assert sessions.still_open == []
        assert len(sessions.traces) == len(set(order))
        assert {replay.session_id for replay in sessions.all} == {f"s-{index}" for index in order}


def test_a_bare_thread_is_untagged_unless_bound(no_open_runs: RecordedSessions) -> None:
    """A thread without a copied context has no session, and none is guessed; bound work has.

    Python copies one where threads inherit contexts.
    """
    inherited = getattr(sys.flags, "thread_inherit_context", False)

    def work() -> None:
        talk().invoke({"user": "s-alice"}, {"callbacks": [HANDLER]})

    with langfuse_manager.session("s-alice", "u-alice"):
        for target in (work, langfuse_manager.bind(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    first, second = no_open_runs.traces
    assert {found.session_id for found in first.observations} == {"s-alice" if inherited else None}
    assert {found.session_id for found in second.observations} == {"s-alice"}


def test_a_session_set_inside_of_a_node_is_not_the_runs(no_open_runs: RecordedSessions) -> None:
    """A tool switches the session for work of its own: the run around it stays where it began."""

    @tool
    def switch(word: str) -> str:
        """Switch."""
        langfuse_manager.set_session("s-other", "u-other")
        with langfuse_manager.trace_span("s-other work"):
            return word

    agent = create_agent(ScriptedChat(call("switch", {"word": "x"}), "Done."), [switch], name="helper")
    with langfuse_manager.session("s-alice", "u-alice"):
        agent.invoke({"messages": [("user", "s-alice")]}, {"callbacks": [HANDLER]})
    sessions_of = {found.name: found.session_id for found in no_open_runs.observations}
    assert sessions_of == {
        "helper": "s-alice",
        "ScriptedChat": "s-alice",
        "switch": "s-alice",
        "s-other work": "s-other",
    }


# -- all at once


class Crowd:
    """Users who do everything at the same time, and what that should leave behind."""

    def __init__(self) -> None:
        self.expected: Counter[tuple[str, str]] = Counter()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._talk = talk().with_config(callbacks=[HANDLER])
        self._helper = helper([echo]).with_config(callbacks=[HANDLER])
        self._helper_later = helper([echo_later]).with_config(callbacks=[HANDLER])
        self._fan = fan().with_config(callbacks=[HANDLER])

    FAN = ("chain fan", *(["chain branch", "span inside", "generation ScriptedStream"] * 4))

    def arrive(self, labels: list[str]) -> str:
        """Return the session of a new user, who will leave these rows."""
        with self._lock:
            session_id = f"s-{next(self._numbers)}"
            self.expected.update((session_id, label) for label in labels)
        return session_id

    CHAIN = ("chain RunnableSequence", "generation ScriptedStream")
    ECHO = ("agent helper", "generation ScriptedChat", "tool echo", "span inside", "generation ScriptedChat")
    LATER = ("agent helper", "generation ScriptedChat", "tool echo_later", "span inside", "generation ScriptedChat")

    def chain(self) -> None:
        user = self.arrive([*self.CHAIN])
        with langfuse_manager.session(user, user_of(user)):
            self._talk.invoke({"user": user})

    def streams(self) -> None:
        """Three streams, read in turns; the last is left in the middle."""
        users = [self.arrive([*self.CHAIN]) for _ in range(3)]
        open_streams: dict[str, Iterator[Any]] = {}
        for user in users:
            with langfuse_manager.session(user, user_of(user)):
                open_streams[user] = self._talk.stream({"user": user})
                next(open_streams[user])
        for _ in range(2):
            for user in users:
                next(open_streams[user], None)
        for user in users[:2]:
            for _ in open_streams[user]:
                pass
        open_streams.clear()

    def agent(self) -> None:
        user = self.arrive([*self.ECHO])
        with langfuse_manager.session(user, user_of(user)):
            self._helper.invoke({"messages": [("user", user)]})

    def batch(self) -> None:
        user = self.arrive([*self.CHAIN] * 4)
        with langfuse_manager.session(user, user_of(user)):
            self._talk.batch([{"user": user}] * 4, {"max_concurrency": 2})

    def fan_out(self) -> None:
        """A graph that sends four branches at once, in threads of LangGraph's."""
        user = self.arrive([*self.FAN])
        with langfuse_manager.session(user, user_of(user)):
            self._fan.invoke({"user": user})

    async def fan_out_task(self) -> None:
        user = self.arrive([*self.FAN])
        langfuse_manager.set_session(user, user_of(user))
        await self._fan.ainvoke({"user": user})

    async def batch_task(self) -> None:
        user = self.arrive([*self.CHAIN] * 4)
        langfuse_manager.set_session(user, user_of(user))
        await self._talk.abatch([{"user": user}] * 4, {"max_concurrency": 2})

    async def task(self) -> None:
        user = self.arrive([*self.CHAIN])
        langfuse_manager.set_session(user, user_of(user))
        await self._talk.ainvoke({"user": user})

    async def stream_task(self) -> None:
        user = self.arrive([*self.CHAIN])
        langfuse_manager.set_session(user, user_of(user))
        async for _ in self._talk.astream({"user": user}):
            await asyncio.sleep(0)

    async def abandoned_task(self) -> None:
        user = self.arrive([*self.CHAIN])
        langfuse_manager.set_session(user, user_of(user))
        stream = self._talk.astream({"user": user})
        await anext(stream)
        await stream.aclose()

    async def agent_task(self) -> None:
        user = self.arrive([*self.LATER])
        langfuse_manager.set_session(user, user_of(user))
        await self._helper_later.ainvoke({"messages": [("user", user)]})

    async def loop(self, rounds: int, seed: int) -> None:
        """Run many tasks at a time on one event loop."""
        chance = random.Random(seed)
        kinds: list[Callable[[], Any]] = [
            self.task,
            self.stream_task,
            self.abandoned_task,
            self.agent_task,
            self.batch_task,
            self.fan_out_task,
        ]
        for _ in range(rounds):
            await asyncio.gather(*(chance.choice(kinds)() for _ in range(20)))

    def threads(self, rounds: int, seed: int) -> None:
        """Work through many users on one of many threads."""
        chance = random.Random(seed)
        kinds: list[Callable[[], None]] = [self.chain, self.streams, self.agent, self.batch, self.fan_out]
        for _ in range(rounds):
            chance.choice(kinds)()


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:Direct attribute assignment")  # LangChain ignores it, which threads undo
def test_a_crowd_of_users_is_told_apart(sessions: RecordedSessions) -> None:
    """Tasks, threads, batches, interleaved and abandoned streams of thousands of users: 0 wrong, 0 missing."""
    crowd = Crowd()
    rounds = max(SIZE // 540, 1)
    with ThreadPoolExecutor(8) as pool:
        jobs: list[Any] = [pool.submit(crowd.threads, rounds * 8, seed) for seed in range(6)]
        jobs += [pool.submit(asyncio.run, crowd.loop(rounds, seed)) for seed in (6, 7)]
        for job in jobs:
            job.result()
    gc.collect()
    langfuse_manager.flush(600)
    found = Counter((str(row.session_id), row.label) for row in sessions.observations)
    assert mixed_up(sessions) == []
    assert found == crowd.expected
    assert sessions.still_open == []
    assert len(tracing.registry) == 0
    for trace in sessions.traces:
        assert len({row.session_id for row in trace.observations}) == 1
        assert len(trace.roots) == 1
    print(f"{found.total()} observations of {len({key[0] for key in found})} users")

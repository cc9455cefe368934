"""Many users at once, in tasks, threads, workflows and streams, at random: every row is in the session of its words."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, call, lookup, say, tool

BRANCHES = 3


def reply(messages: Any) -> ChatMessage:
    """Look up the session that is asked for, then answer with it."""
    session = re.findall(r"\bs-\d+", str(messages))[-1]
    return say(f"For {session}.") if messages[-1].role == "tool" else call("lookup", {"city": session})


class Branch(Event):
    word: str


class Done(Event):
    word: str


class FanOut(Workflow):
    """Asks the model in several steps at once."""

    def __init__(self, model: ScriptedLLM) -> None:
        super().__init__()
        self._model = model

    @step
    async def start(self, context: Context, event: StartEvent) -> Branch | None:
        for _ in range(BRANCHES):
            context.send_event(Branch(word=event.word))
        return None

    @step(num_workers=BRANCHES)
    async def branch(self, event: Branch) -> Done:
        await self._model.achat([ChatMessage(role="user", content=event.word)])
        return Done(word=event.word)

    @step
    async def stop(self, context: Context, event: Done) -> StopEvent | None:
        done = context.collect_events(event, [Done] * BRANCHES)
        return None if done is None else StopEvent(result=event.word)


class Crowd:
    """Users who do everything at the same time, and how many generations each should leave behind."""

    def __init__(self) -> None:
        self.expected: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._model = ScriptedLLM(lambda messages: say(f"For {messages[-1].content}."))

    def arrive(self, generations: int) -> str:
        """Return the session of a new user, set here."""
        with self._lock:
            session = f"s-{next(self._numbers)}"
            self.expected[session] = generations
        langfuse_manager.set_session(session, session.replace("s-", "u-"))
        return session

    def chat(self) -> None:
        self._model.chat([ChatMessage(role="user", content=self.arrive(1))])

    def streams(self) -> None:
        """Three streams, read in turns."""
        streams = [iter(self._model.stream_chat([ChatMessage(role="user", content=self.arrive(1))])) for _ in range(3)]
        while streams:
            streams = [stream for stream in streams if next(stream, None) is not None]

    async def agent(self) -> None:
        session = self.arrive(2)
        agent = FunctionAgent(name="helper", tools=[tool(lookup)], llm=ScriptedLLM(reply))
        await agent.run(session)

    async def fan_out(self) -> None:
        session = self.arrive(BRANCHES)
        await FanOut(self._model).run(word=session)

    async def stream(self) -> None:
        async for _ in await self._model.astream_chat([ChatMessage(role="user", content=self.arrive(1))]):
            await asyncio.sleep(0)

    def threads(self, rounds: int, seed: int) -> None:
        """Work through many users on one of many threads."""
        chance = random.Random(seed)
        kinds: list[Callable[[], None]] = [self.chat, self.streams]
        for _ in range(rounds):
            chance.choice(kinds)()

    async def loop(self, rounds: int, seed: int) -> None:
        """Run many tasks at a time on one event loop."""
        chance = random.Random(seed)
        kinds: list[Callable[[], Any]] = [self.agent, self.fan_out, self.stream]
        for _ in range(rounds):
            await asyncio.gather(*(chance.choice(kinds)() for _ in range(10)))


@pytest.mark.parametrize("rounds", [1, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_a_crowd_of_users_is_told_apart(settled: RecordedSessions, rounds: int) -> None:
    """Agents, workflows that fan out, and streams, in threads and on two loops: 0 wrong, 0 missing, 0 open."""
    crowd = Crowd()
    with ThreadPoolExecutor(6) as pool:
        jobs: list[Any] = [pool.submit(crowd.threads, rounds * 4, seed) for seed in range(4)]
        jobs += [pool.submit(asyncio.run, crowd.loop(rounds, seed)) for seed in (4, 5)]
        for job in jobs:
            job.result()
    rows = settled.observations
    assert Counter(str(row.session_id) for row in rows if row.type == "generation") == crowd.expected
    for row in rows:
        assert row.user_id == str(row.session_id).replace("s-", "u-")
        assert set(re.findall(r"\bs-\d+", f"{row.input} {row.output}")) <= {row.session_id}
        if row.type in ("generation", "agent", "tool"):
            assert str(row.session_id) in re.findall(r"\bs-\d+", str(row.input))
    for trace in settled.traces:
        assert len({row.session_id for row in trace.observations}) == len(trace.roots) == 1
    assert settled.still_open == []

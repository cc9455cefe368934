"""An interrupted agent is resumed by another worker: one trace, in the session that it was interrupted in."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hosts.redis_server import RedisServer
from peers.otlp import Receiver, Span

pytestmark = [pytest.mark.redis, pytest.mark.langchain]

WORKER = Path(__file__).parent / "apps" / "asks.py"


def run_workers(environment: dict[str, str], *calls: tuple[str, ...]) -> None:
    """Run the agent once in a process of its own for each call, all at the same time."""
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}

    def run(arguments: tuple[str, ...]) -> None:
        done = subprocess.run(
            [sys.executable, str(WORKER), *arguments],
            env={**os.environ, **environment, **paths},
            timeout=90,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(run, calls))


def metadata(span: Span, key: str) -> str:
    return str(span.attributes[f"langfuse.observation.metadata.{key}"])


@pytest.mark.application
def test_a_resume_in_another_worker_stays_in_its_trace(
    receiver: Receiver, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two users' agents ask; other processes, told nothing but the thread, answer: a trace each, whose act finds the
    think of before, in the session and under the user of its own."""
    environment = {**receiver.environment(), "LANGFUSE_INTEGRATION_STORE": redis_server.url}
    ada, bob = str(tmp_path / "ada"), str(tmp_path / "bob")
    run_workers(environment, ("Hello", "ada", "t-ada", ada), ("Hello", "bob", "t-bob", bob))
    run_workers(environment, ("my name", "", "t-bob", bob), ("my name", "", "t-ada", ada))
    spans = receiver.wait_for(12)
    asked = ("assistant", ("ScriptedChat",), ("ask",))
    answered = ("assistant", ("ask",), ("ScriptedChat",))
    assert sorted(map(str, receiver.trees())) == sorted(map(str, [asked, asked, answered, answered]))
    for user in ("ada", "bob"):
        own = [span for span in spans if span.session_id == f"s-{user}"]
        assert len({span.trace_id for span in own}) == 1
        assert [span.user_id for span in own] == [user] * 6
        thinks = [span for span in own if span.name == "ScriptedChat"]
        assert [metadata(think, "step_index") for think in thinks] == ["1", "2"]
        assert {metadata(act, "think_id") for act in own if act.name == "ask"} == {thinks[0].span_id}


@pytest.mark.application
def test_a_breakpoint_that_another_worker_continues_stays_in_its_trace(
    receiver: Receiver, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two users' agents stop before their tools, and other processes continue them: a trace and a session each."""
    environment = {**receiver.environment(), "LANGFUSE_INTEGRATION_STORE": redis_server.url}
    ada, bob = str(tmp_path / "ada"), str(tmp_path / "bob")
    run_workers(environment, ("Hello", "ada", "t-1", ada, "stops"), ("Hello", "bob", "t-1", bob, "stops"))
    run_workers(environment, ("", "", "t-1", bob, "stops"), ("", "", "t-1", ada, "stops"))
    spans = receiver.wait_for(10)
    stopped, went_on = ("assistant", ("ScriptedChat",)), ("assistant", ("look",), ("ScriptedChat",))
    assert sorted(map(str, receiver.trees())) == sorted(map(str, [stopped, stopped, went_on, went_on]))
    for user in ("ada", "bob"):
        own = [span for span in spans if span.session_id == f"s-{user}"]
        assert [span.user_id for span in own] == [user] * 5
        assert len({span.trace_id for span in own}) == 1
        (act,) = (span for span in own if span.name == "look")
        assert metadata(act, "think_id") in {span.span_id for span in own if span.name == "ScriptedChat"}

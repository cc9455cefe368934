"""Runs whose saved context another worker continues: one trace where the workers share a store, else a clean one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.workflow import HumanResponseEvent

from fresh import run_fresh
from hosts.redis_server import RedisServer
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.sessions.shared_state import active_key_value
from langfuse_integration.testing import RecordedSessions, recorded_sessions
from langfuse_integration_llamaindex import instrument
from llamaindex.asking import confirm
from llamaindex.releases import CONTEXTS_HAVE_NO_CLOCK, TAKES_A_WAIT_FOR_AN_ERROR
from llamaindex.scripted import ScriptedLLM, call, tool
from llamaindex.test_continuations import WAITING, asked, continued

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.redis,
    pytest.mark.skipif(CONTEXTS_HAVE_NO_CLOCK, reason="this release's saved contexts cannot be told apart"),
    pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]
RUNS = 3
FIRST = [{"agent AgentWorkflow": ["generation ScriptedLLM", "tool confirm"]}]
SECOND = [{"agent AgentWorkflow": ["tool confirm", "generation ScriptedLLM"]}]


def careful(*answers: Any) -> AgentWorkflow:
    """Return a team of one agent, whose tool asks a person."""
    agent = FunctionAgent(name="careful", llm=ScriptedLLM(list(answers)), tools=[tool(confirm)])
    return AgentWorkflow(agents=[agent])


def first_worker(store: str) -> str:
    """Run agents in ada's session until they ask; return their saved contexts and what was recorded, as JSON."""
    configure(store=store)
    instrument()
    with recorded_sessions() as sessions:
        told = [asyncio.run(_ask(sessions)) for _ in range(RUNS)]
    active_key_value().close(10)
    return json.dumps(told)


async def _ask(sessions: RecordedSessions) -> dict[str, Any]:
    with langfuse_manager.session("s-ada", "ada"):
        saved = await asked(careful(call("confirm", {}, "call_0")), user_msg="Go.")
    trace = sessions.trace()
    sessions.clear()
    return {
        "saved": saved,
        "trace": trace.id,
        "tree": trace.tree(),
        "think": trace.one("ScriptedLLM").id,
        "statuses": sorted({row.status_message or "" for row in trace.observations}),
    }


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """What the workers share."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def interrupted(store: RedisServer) -> list[dict[str, Any]]:
    """Return what `first_worker` tells of each run, made in a process of its own."""
    code = f"from llamaindex.test_other_workers import first_worker\nprint(first_worker({store.url!r}))"
    told = run_fresh(code, {"PYTHONPATH": str(Path(__file__).parents[1])})
    runs: list[dict[str, Any]] = json.loads(told.splitlines()[0])
    for run in runs:
        assert (run["tree"], run["statuses"]) == (FIRST, ["", WAITING])
    return runs


async def go_on(saved: str) -> None:
    """Continue a run with the answer that it waits for."""
    answer = HumanResponseEvent(response="yes")
    assert str(await continued(careful("Done."), saved, answer)) == "Done."


async def test_workers_that_share_nothing(settled: RecordedSessions, interrupted: list[dict[str, Any]]) -> None:
    """The second worker's part is a trace of its own in the same session; neither part is called cancelled."""
    with langfuse_manager.session("s-ada", "ada"):
        await go_on(interrupted[0]["saved"])
    trace = settled.trace()
    assert trace.tree() == SECOND
    assert trace.id != interrupted[0]["trace"]
    assert {row.session_id for row in trace.observations} == {"s-ada"}
    assert {row.status_message for row in trace.observations} == {None}
    assert "resumed_trace_id" not in trace.roots[0].metadata


async def test_workers_that_share_a_store(
    settled: RecordedSessions, interrupted: list[dict[str, Any]], store: RedisServer
) -> None:
    """The second worker's part is one more root of the first one's trace, and its steps go on."""
    configure(store=store.url)
    with langfuse_manager.session("s-ada", "ada"):
        await go_on(interrupted[1]["saved"])
    trace = settled.trace()
    assert trace.tree() == SECOND
    assert trace.id == interrupted[1]["trace"]
    assert trace.roots[0].is_root
    assert trace.one("confirm").metadata["think_id"] == interrupted[1]["think"]
    assert trace.one("ScriptedLLM").metadata["step_index"] == 2
    assert {row.session_id for row in trace.observations} == {"s-ada"}
    assert {row.status_message for row in trace.observations} == {None}


async def test_another_session_of_workers_that_share_a_store(
    settled: RecordedSessions, interrupted: list[dict[str, Any]], store: RedisServer
) -> None:
    """An approver's worker continues it: a trace in the approver's session, which names the first one."""
    configure(store=store.url)
    with langfuse_manager.session("s-boss", "boss"):
        await go_on(interrupted[2]["saved"])
    (trace,) = settled.of("s-boss").traces
    assert trace.tree() == SECOND
    assert trace.roots[0].metadata["resumed_trace_id"] == interrupted[2]["trace"]
    (first,) = settled.of("s-ada").traces
    assert first.tree() == ["event resumed in another session"]

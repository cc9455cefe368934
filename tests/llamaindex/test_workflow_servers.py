"""Workflows on a real workflow server, which releases runs that wait and continues them under the same run id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

pytest.importorskip("llama_agents.server")

from llama_agents.server import WorkflowServer
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent
from workflows.runtime.types.ticks import TickIdleRelease

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration.testing import RecordedSessions
from llamaindex.asking import confirm
from llamaindex.scripted import ScriptedLLM, call, tool
from llamaindex.test_continuations import WAITING, Answer, Approval, Question

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]


class Service:
    """A client of a workflow server, for one user's session.

    Args:
        client: of the server's HTTP API.
        name: of the workflow.
        session_id: sent with each request.
    """

    def __init__(self, client: httpx.AsyncClient, name: str, session_id: str) -> None:
        self._client = client
        self._name = name
        self._headers = {"x-session-id": session_id}

    async def start(self, **fields: Any) -> str:
        """Start a run and return the id of its handler."""
        body = {"start_event": fields}
        made = await self._client.post(f"/workflows/{self._name}/run-nowait", json=body, headers=self._headers)
        made.raise_for_status()
        return str(made.json()["handler_id"])

    async def answer(self, handler: str, event: Any) -> None:
        """Send an event to a run."""
        sent = {
            "__is_pydantic": True,
            "value": event.model_dump(),
            "qualified_name": f"{type(event).__module__}.{type(event).__name__}",
        }
        body = {"event": json.dumps(sent)}
        (await self._client.post(f"/events/{handler}", json=body, headers=self._headers)).raise_for_status()

    async def result(self, handler: str) -> Any:
        """Wait for the end of a run."""
        async with asyncio.timeout(60):
            while (state := (await self._client.get(f"/handlers/{handler}")).json())["status"] == "running":
                await asyncio.sleep(0.02)
        assert state["status"] == "completed", state
        return state["result"]["value"]


@asynccontextmanager
async def serving(workflow: Any, events: list[type]) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a workflow whose runs are released as soon as they wait."""
    server = WorkflowServer(idle_timeout=0.05)
    server.add_workflow("it", workflow, additional_events=events)
    transport = httpx.ASGITransport(SessionMiddleware(server.app, header="x-session-id"))
    async with server.contextmanager(), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def ended(sessions: RecordedSessions, roots: int) -> None:
    """Wait until so many roots were recorded and nothing is open."""
    async with asyncio.timeout(60):
        while sum(len(trace.roots) for trace in sessions.traces) < roots or sessions.still_open:
            await asyncio.sleep(0.02)


async def test_a_released_run_goes_on_in_its_trace(settled: RecordedSessions) -> None:
    """Two users' runs, released while they wait and continued, are a trace each, in the session of the user."""
    async with serving(Approval(timeout=120), [Question, Answer]) as client:
        ada, bob = Service(client, "it", "s-ada"), Service(client, "it", "s-bob")
        first, second = await ada.start(), await bob.start()
        await ended(settled, 2)
        await bob.answer(second, Answer(text="no"))
        await ada.answer(first, Answer(text="yes"))
        assert await ada.result(first) == {"result": "done: yes"}
        assert await bob.result(second) == {"result": "done: no"}
        await ended(settled, 4)
    for session in ("s-ada", "s-bob"):
        (trace,) = settled.of(session).traces
        assert trace.tree() == [{"chain Approval": ["chain prepare"]}, {"chain Approval": ["chain act"]}]
        assert [root.status_message for root in trace.roots] == [WAITING, None]
    assert len(settled.traces) == 2


async def test_another_session_answers(settled: RecordedSessions) -> None:
    """An answer that comes in another session continues the run in a linked trace of that session."""
    async with serving(Approval(timeout=120), [Question, Answer]) as client:
        run = await Service(client, "it", "s-ada").start()
        await ended(settled, 1)
        boss = Service(client, "it", "s-boss")
        await boss.answer(run, Answer(text="yes"))
        await boss.result(run)
        await ended(settled, 2)
    (first,), (second,) = settled.of("s-ada").traces, settled.of("s-boss").traces
    assert second.tree() == [{"chain Approval": ["chain act"]}]
    assert second.roots[0].metadata["resumed_trace_id"] == first.id


async def test_a_released_agent_goes_on_with_its_steps(settled: RecordedSessions) -> None:
    """An agent whose tool waits is continued with its own name, its next step number, and the think behind the tool."""
    llm = ScriptedLLM([call("confirm", {}, "ask-1"), "Done."])
    agent = FunctionAgent(name="careful", tools=[tool(confirm)], llm=llm, timeout=120)
    async with serving(agent, [InputRequiredEvent, HumanResponseEvent]) as client:
        ada = Service(client, "it", "s-ada")
        run = await ada.start(user_msg="Go.", chat_history=[], max_iterations=9, early_stopping_method=None)
        await ended(settled, 1)
        await ada.answer(run, HumanResponseEvent(response="yes"))
        await ada.result(run)
        await ended(settled, 2)
    trace, replay = settled.trace(), settled.one()
    assert trace.tree() == [
        {"agent careful": ["generation ScriptedLLM", "tool confirm"]},
        {"agent careful": ["tool confirm", "generation ScriptedLLM"]},
    ]
    assert [(think.metadata["agent_name"], think.metadata["step_index"]) for think in replay.thinks] == [
        ("careful", 1),
        ("careful", 2),
    ]
    assert [act.metadata["think_id"] for act in replay.acts] == [replay.thinks[0].id] * 2
    assert {row.status_message for row in trace.observations} == {WAITING, None}


async def test_a_run_that_a_durable_runtime_releases(settled: RecordedSessions) -> None:
    """A run that ends with LlamaIndex's "released" waits for an event; that is no output of the workflow."""
    workflow = Approval(timeout=120)
    with langfuse_manager.session("s-1"):
        handler = workflow.run(run_id="run-1")
        async for event in handler.stream_events():
            if isinstance(event, Question):
                break
        await handler.ctx._face._external_adapter.send_event(TickIdleRelease())  # as llama-agents-dbos does
        await asyncio.gather(handler, return_exceptions=True)
    root = settled.trace().roots[0]
    assert (root.status_message, root.level, root.output) == (WAITING, "DEFAULT", None)

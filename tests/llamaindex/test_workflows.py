"""Workflows of LlamaIndex: their steps, and all the ways in which they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.asking import confirm
from llamaindex.releases import STEPS_OUTLIVE_THEIR_RUN, TAKES_A_WAIT_FOR_AN_ERROR
from llamaindex.scripted import ScriptedLLM, call, calls, lookup, tool

pytestmark = pytest.mark.asyncio

HELLO = [ChatMessage(role="user", content="Hello?")]


class Draft(Event):
    """A text on its way."""

    text: str


class Writer(Workflow):
    """Drafts and polishes."""

    @step
    async def draft(self, ev: StartEvent) -> Draft:
        """Ask a model."""
        answer = await ScriptedLLM(["alpacas hum"]).achat(HELLO)
        return Draft(text=str(answer.message.content))

    @step
    def polish(self, ev: Draft) -> StopEvent:
        """Capitalize the text; LlamaIndex runs this sync step in a thread."""
        with langfuse_manager.trace_span("inside"):
            return StopEvent(result=ev.text.capitalize())


async def until(reached: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while not reached():
            await asyncio.sleep(0.001)


async def test_a_workflow_is_its_steps(settled: RecordedSessions) -> None:
    """Each step is a row, sync ones in their thread too, with the event that went in and the one that came out."""
    with langfuse_manager.session("s-1", "u-1"):
        assert await Writer().run(topic="alpacas") == "Alpacas hum"
    trace = settled.trace()
    assert trace.tree() == [
        {"chain Writer": [{"chain draft": ["generation ScriptedLLM"]}, {"chain polish": ["span inside"]}]}
    ]
    assert {(found.session_id, found.user_id) for found in trace.observations} == {("s-1", "u-1")}
    assert (trace.one("Writer").input, trace.one("Writer").output) == ({"topic": "alpacas"}, "Alpacas hum")
    assert trace.one("draft").input == {"event": "StartEvent", "topic": "alpacas"}
    assert trace.one("draft").output == {"event": "Draft", "text": "alpacas hum"}
    assert trace.one("polish").input == {"event": "Draft", "text": "alpacas hum"}
    assert trace.one("polish").output == "Alpacas hum"


async def test_a_workflow_in_a_step_of_another(settled: RecordedSessions) -> None:
    """The inner run is below the step that started it."""

    class Outer(Workflow):
        @step
        async def delegate(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=await Writer().run())

    await Outer().run()
    (root,) = settled.trace().roots
    (delegate,) = root.children
    assert [root.label, delegate.label, delegate.children[0].label] == ["chain Outer", "chain delegate", "chain Writer"]


async def test_a_step_that_fails(settled: RecordedSessions) -> None:
    """The error is on the step and on the run."""

    class Broken(Workflow):
        @step
        async def fail(self, ev: StartEvent) -> StopEvent:
            raise LookupError("nothing there")

    with pytest.raises(Exception, match="nothing there"):
        await Broken().run()
    trace = settled.trace()
    assert trace.tree() == [{"chain Broken": ["chain fail"]}]
    assert [found.level for found in trace.observations] == ["ERROR", "ERROR"]
    assert trace.one("fail").status_message == "LookupError: nothing there"


async def test_parallel_workers_of_a_step_are_rows_of_their_own(settled: RecordedSessions) -> None:
    """A fan-out has a row per event, and the join one per arrival."""

    class Fan(Workflow):
        @step
        async def split(self, ctx: Context, ev: StartEvent) -> Draft | None:
            for text in "ab":
                ctx.send_event(Draft(text=text))
            return None

        @step(num_workers=2)
        async def work(self, ev: Draft) -> InputRequiredEvent:
            return InputRequiredEvent(prefix=ev.text)

        @step
        async def join(self, ctx: Context, ev: InputRequiredEvent) -> StopEvent | None:
            found = ctx.collect_events(ev, [InputRequiredEvent] * 2)
            return StopEvent(result="".join(sorted(one.prefix for one in found))) if found else None

    assert await Fan().run() == "ab"
    (root,) = settled.trace().roots
    assert sorted(child.name for child in root.children) == ["join", "join", "split", "work", "work"]
    assert {child.level for child in root.children} == {"DEFAULT"}


# -- to wait for an event and run again


class Asking(Workflow):
    """Asks a person in the middle of a step."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Wait for the answer; the step runs again from its beginning when it is there."""
        await ScriptedLLM(["Shall I?"]).achat(HELLO)
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="sure?"))
        return StopEvent(result=answer.response)


async def answered(handler: Any) -> Any:
    """Answer whatever a run asks with yes, and return its result."""
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            handler.ctx.send_event(HumanResponseEvent(response="yes"))
    return await handler


async def test_a_step_that_waits_is_one_step(settled: RecordedSessions) -> None:
    """A step that waits for an event and is run again is one row, from its first start to its real end."""
    assert await answered(Asking().run()) == "yes"
    trace = settled.trace()
    assert trace.tree() == [{"chain Asking": [{"chain ask": ["generation ScriptedLLM", "generation ScriptedLLM"]}]}]
    assert trace.one("ask").output == "yes"
    assert trace.one("ask").level == "DEFAULT"


def asking_agent(**options: Any) -> FunctionAgent:
    """Return an agent whose tool asks a person."""
    llm = ScriptedLLM([call("confirm", {}, "ask-1"), "Done."])
    return FunctionAgent(name="careful", tools=[tool(confirm)], llm=llm, **options)


@pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex")
async def test_a_tool_that_waits_for_a_person_is_one_act(settled: RecordedSessions) -> None:
    """A tool that waits and is run again for the same call is one row without an error, linked to its think."""
    with langfuse_manager.session("s-1"):
        assert str(await answered(asking_agent().run("Go."))) == "Done."
    trace = settled.trace()
    assert trace.tree() == [{"agent careful": ["generation ScriptedLLM", "tool confirm", "generation ScriptedLLM"]}]
    act = trace.one("confirm")
    assert (act.level, act.output, act.metadata["tool_call_id"]) == ("DEFAULT", "yes", "ask-1")
    assert {found.session_id for found in trace.observations} == {"s-1"}


@pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex")
async def test_a_run_that_is_cancelled_while_it_waits(settled: RecordedSessions) -> None:
    """A run that is cancelled while its tool waits for an answer has a cancelled act."""
    handler = asking_agent().run("Go.")
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    await handler.cancel_run()
    with pytest.raises(Exception):  # noqa: B017, PT011  which one differs between releases
        await handler
    await until(lambda: not settled.still_open)
    trace = settled.trace()
    assert trace.tree() == [{"agent careful": ["generation ScriptedLLM", "tool confirm"]}]
    assert [trace.one(name).status_message for name in ("careful", "confirm")] == ["cancelled", "cancelled"]


@pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex")
@pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key")
async def test_an_interrupted_run_that_goes_on_from_a_saved_context_is_one_trace(settled: RecordedSessions) -> None:
    """The first part ends while it waits; the second one, a new run, is in the same trace and answers the think."""
    agent = asking_agent()
    with langfuse_manager.session("s-1"):
        handler = agent.run("Go.")
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                break
        saved = handler.ctx.to_dict()
        await handler.cancel_run()
        with pytest.raises(Exception):  # noqa: B017, PT011  which one differs between releases
            await handler
    with langfuse_manager.session("s-1"):
        context = Context.from_dict(agent, saved)
        await context.store.set("memory", ChatMemoryBuffer.from_defaults())
        handler = agent.run(ctx=context)
        handler.ctx.send_event(HumanResponseEvent(response="yes"))
        assert str(await handler) == "Done."
    trace = settled.trace()
    assert trace.tree() == [
        {"agent careful": ["generation ScriptedLLM", "tool confirm"]},
        {"agent careful": ["tool confirm", "generation ScriptedLLM"]},
    ]
    think = settled.one().thinks[0]
    acts = settled.one().acts
    assert [act.metadata["tool_call_id"] for act in acts] == ["ask-1", "ask-1"]
    assert {act.attributes["langfuse.observation.metadata.think_id"] for act in acts} == {think.id}
    assert acts[1].output == "yes"


# -- other ends


def slow_agent(reached: asyncio.Event, **options: Any) -> FunctionAgent:
    """Return an agent whose tool never returns."""

    async def wait(question: str) -> str:
        """Wait."""
        reached.set()
        await asyncio.Event().wait()
        return ""

    llm = ScriptedLLM([call("wait", {"question": "?"})])
    return FunctionAgent(name="slow", tools=[tool(wait)], llm=llm, **options)


SLOW = [{"agent slow": ["generation ScriptedLLM", "tool wait"]}]


async def end_steps_left_behind() -> None:
    """End the steps that outlive their run, as the end of the loop would."""
    if not STEPS_OUTLIVE_THEIR_RUN:
        return
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_a_run_that_its_user_cancels(settled: RecordedSessions) -> None:
    """`cancel_run()`: the act and the run are cancelled, the think is not; nothing is an error."""
    reached = asyncio.Event()
    handler = slow_agent(reached).run("Go.")
    await reached.wait()
    await handler.cancel_run()
    with pytest.raises(Exception):  # noqa: B017, PT011  which one differs between releases
        await handler
    await until(lambda: not settled.still_open)
    trace = settled.trace()
    assert trace.tree() == SLOW
    ends = {found.name: (found.level, found.status_message) for found in trace.observations}
    assert ends == {
        "slow": ("DEFAULT", "cancelled"),
        "wait": ("DEFAULT", "cancelled"),
        "ScriptedLLM": ("DEFAULT", None),
    }


async def test_a_run_whose_awaiter_is_cancelled(settled: RecordedSessions) -> None:
    """The task that awaits the run is cancelled, as by a client that hangs up: nothing stays open."""
    reached = asyncio.Event()

    async def request() -> None:
        await slow_agent(reached).run("Go.")

    waiting = asyncio.create_task(request())
    await reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not settled.still_open)
    await end_steps_left_behind()
    assert settled.trace().tree() == SLOW
    assert settled.trace().one("slow").status_message == "cancelled"


async def test_a_run_whose_awaiter_is_cancelled_while_the_model_answers(settled: RecordedSessions) -> None:
    """The model call ends as cancelled with the run, whenever the model wakes up."""
    reached = asyncio.Event()

    async def never() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def request() -> None:
        await FunctionAgent(name="slow", llm=ScriptedLLM(["Hm."], pause=never), streaming=False).run("Go.")

    waiting = asyncio.create_task(request())
    await reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not settled.still_open)
    await end_steps_left_behind()
    trace = settled.trace()
    assert trace.tree() == [{"agent slow": ["generation ScriptedLLM"]}]
    assert {found.status_message for found in trace.observations} == {"cancelled"}


async def test_a_run_that_takes_too_long(settled: RecordedSessions) -> None:
    """The timeout is the run's error; the act that it interrupted is cancelled."""
    with pytest.raises(Exception, match="timed out"):
        await slow_agent(asyncio.Event(), timeout=2).run("Go.")
    await until(lambda: not settled.still_open)
    trace = settled.trace()
    assert trace.tree() == SLOW
    assert trace.one("slow").level == "ERROR"
    assert "timed out" in (trace.one("slow").status_message or "")
    assert trace.one("wait").status_message == "cancelled"


async def test_tool_calls_never_made_are_noted(settled: RecordedSessions) -> None:
    """A run that ends between a think and its acts says on its row which calls were left."""
    reached = asyncio.Event()

    async def wait() -> str:
        """Wait."""
        reached.set()
        await asyncio.Event().wait()
        return ""

    wanted = calls(("wait", {}, "c1"), *((("lookup", {"city": "Rome"}, f"c{n}")) for n in range(2, 8)))
    agent = FunctionAgent(name="busy", tools=[tool(wait), tool(lookup)], llm=ScriptedLLM([wanted]))
    handler = agent.run("Go.")
    await reached.wait()
    await handler.cancel_run()
    with pytest.raises(Exception):  # noqa: B017, PT011  which one differs between releases
        await handler
    await until(lambda: not settled.still_open)
    acted = {act.metadata["tool_call_id"] for act in settled.one().acts}
    left = {one["id"] for one in settled.trace().one("busy").metadata.get("unanswered_tool_calls", [])}
    assert acted | left == {f"c{n}" for n in range(1, 8)}
    assert not acted & left


async def test_the_session_of_a_run_is_the_one_it_was_started_in(settled: RecordedSessions) -> None:
    """Whatever becomes active between `run()` and its first step, in the same request even, changes nothing."""
    from langfuse_integration.recording import tracing
    from langfuse_integration.sessions.cells import Cell
    from langfuse_integration.sessions.session import Session

    request = Cell.hosted()
    tracing.store.place(request)
    langfuse_manager.set_session("first", "u-1")
    handler = Writer().run()
    langfuse_manager.set_session("second", "u-2")
    assert request.session == Session("second", "u-2")
    await handler
    assert {found.session_id for found in settled.observations} == {"first"}


async def test_a_run_keeps_its_place_in_a_runtime_that_loses_the_context(settled: RecordedSessions) -> None:
    """A runtime hands over what the dispatcher captured, written as JSON, in a context that knows nothing."""
    import contextvars
    import json

    from llama_index.core.instrumentation import get_dispatcher

    with langfuse_manager.session("s-1", "u-1", tags=["vip"]), langfuse_manager.trace_span("request"):
        carried = json.loads(json.dumps(get_dispatcher().capture_propagation_context()))

    async def elsewhere() -> None:
        get_dispatcher().restore_propagation_context(carried)
        await Writer().run()

    await asyncio.create_task(elsewhere(), context=contextvars.Context())
    trace = settled.trace()
    assert [root.label for root in trace.roots] == ["span request"]
    assert {(found.session_id, found.user_id) for found in trace.observations} == {("s-1", "u-1")}


async def test_a_run_that_times_out_while_it_waits(settled: RecordedSessions) -> None:
    """Nobody answers in time: the run has the error, and its step was not cancelled but waited."""

    class Approval(Workflow):
        @step
        async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
            return StopEvent()

    with pytest.raises(Exception, match="timed out"):
        await Approval(timeout=0.2).run()
    await until(lambda: not settled.still_open)
    trace = settled.trace()
    assert trace.tree() == [{"chain Approval": ["chain ask"]}]
    assert trace.one("Approval").level == "ERROR"
    assert trace.one("ask").status_message == "waiting for an event"


async def test_a_run_that_is_cancelled_before_its_first_step_waits_for_nothing(settled: RecordedSessions) -> None:
    """An agent whose task is cancelled as soon as it is made was cancelled, alone and inside of a step."""

    async def begin() -> None:
        await FunctionAgent(name="early", tools=[tool(lookup)], llm=ScriptedLLM(["never"])).run("Go.")

    async def cut() -> None:
        task = asyncio.create_task(begin())
        while not any("early" in row for row in settled.still_open):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    class Outer(Workflow):
        @step
        async def work(self, ev: StartEvent) -> StopEvent:
            await cut()
            return StopEvent()

    await cut()
    await Outer().run()
    await until(lambda: not settled.still_open)
    rows = [row for row in settled.observations if row.name == "early"]
    assert [(row.level, row.status_message) for row in rows] == [("DEFAULT", "cancelled")] * 2

"""Runs that wait for a person, end, and are continued later: by a server, or from a saved context."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent, Workflow
from llama_index.core.workflow import step as step_of

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_llamaindex import continuations, private, uninstrument
from llamaindex.asking import confirm
from llamaindex.releases import CONTEXTS_HAVE_NO_CLOCK, TAKES_A_WAIT_FOR_AN_ERROR
from llamaindex.scripted import ScriptedLLM, call, tool

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(CONTEXTS_HAVE_NO_CLOCK, reason="this release's saved contexts cannot be told apart"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of known unserializable key"),
]
WAITING = "waiting for an event"


class Question(InputRequiredEvent):
    """What a workflow asks."""

    prompt: str


class Answer(HumanResponseEvent):
    """What a person says."""

    text: str


class Approval(Workflow):
    """Asks in one step and goes on in another."""

    @step_of
    async def prepare(self, ctx: Context, ev: StartEvent) -> Question:
        """Ask."""
        return Question(prompt="May I?")

    @step_of
    async def act(self, ctx: Context, ev: Answer) -> StopEvent:
        """Do what was allowed."""
        return StopEvent(result=f"done: {ev.text}")


class Patient(Workflow):
    """Asks and waits in one step."""

    @step_of
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Ask, and wait."""
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(prompt="May I?"))
        return StopEvent(result=f"done: {answer.text}")


async def asked(workflow: Any, **start: Any) -> str:
    """Run a workflow until it asks, save its context as JSON and end it, as LlamaIndex's documentation does."""
    handler = workflow.run(**start)
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    saved = json.dumps(handler.ctx.to_dict(), sort_keys=True)
    await handler.cancel_run()
    await asyncio.gather(handler, return_exceptions=True)
    return saved


async def continued(workflow: Any, saved: str, answer: HumanResponseEvent) -> Any:
    """Run a workflow from its saved context, with the answer."""
    context = Context.from_dict(workflow, json.loads(saved))
    if isinstance(workflow, AgentWorkflow):  # its memory is not saved
        await context.store.set("memory", ChatMemoryBuffer.from_defaults())
    handler = workflow.run(ctx=context)
    handler.ctx.send_event(answer)
    return await handler


@pytest.mark.parametrize(
    ("workflow", "tree"),
    [
        (Approval, [{"chain Approval": ["chain prepare"]}, {"chain Approval": ["chain act"]}]),
        (Patient, [{"chain Patient": ["chain ask"]}, {"chain Patient": ["chain ask"]}]),
    ],
)
async def test_a_saved_context_goes_on_in_its_trace(
    settled: RecordedSessions, workflow: type[Workflow], tree: list[Any]
) -> None:
    """A run that was saved while it waited, and ended, is no cancelled one; the next run is a root of its trace."""
    with langfuse_manager.session("s-1"):
        saved = await asked(workflow())
        assert await continued(workflow(), saved, Answer(text="yes")) == "done: yes"
    trace = settled.trace()
    assert trace.tree() == tree
    assert [root.status_message for root in trace.roots] == [WAITING, None]
    assert {row.session_id for row in trace.observations} == {"s-1"}
    assert "cancelled" not in {row.status_message for row in trace.observations}


async def test_runs_of_one_workflow_are_told_apart(settled: RecordedSessions) -> None:
    """Two runs that wait at the same place of one workflow, in one session, each go on in their own trace."""
    with langfuse_manager.session("s-1"):
        first, second = [await asked(Approval()) for _ in range(2)]
        await continued(Approval(), second, Answer(text="two"))
        await continued(Approval(), first, Answer(text="one"))
    assert [[root.output for root in trace.roots] for trace in settled.traces] == [
        [None, "done: one"],
        [None, "done: two"],
    ]


async def test_a_context_continued_in_another_session_is_a_linked_trace(settled: RecordedSessions) -> None:
    """An approver's run is a trace in the approver's session, linked with the first one both ways."""
    with langfuse_manager.session("s-1"):
        saved = await asked(Approval())
    with langfuse_manager.session("s-2"):
        await continued(Approval(), saved, Answer(text="yes"))
    (first,), (second,) = settled.of("s-1").traces, settled.of("s-2").traces
    assert first.tree() == [{"chain Approval": ["chain prepare", "event resumed in another session"]}]
    assert second.tree() == [{"chain Approval": ["chain act"]}]
    assert second.roots[0].metadata["resumed_trace_id"] == first.id
    assert first.one("resumed in another session").metadata["resumed_in_trace_id"] == second.id


async def test_a_continued_run_inside_of_a_span_hangs_below_it(settled: RecordedSessions) -> None:
    """A span of the application around the second run keeps it: the trace of the span is the application's choice."""
    with langfuse_manager.session("s-1"):
        saved = await asked(Approval())
        with langfuse_manager.trace_span("webhook"):
            await continued(Approval(), saved, Answer(text="yes"))
    assert [trace.tree() for trace in settled.traces] == [
        [{"chain Approval": ["chain prepare"]}],
        [{"span webhook": [{"chain Approval": ["chain act"]}]}],
    ]


async def test_a_finished_run_is_not_continued(settled: RecordedSessions) -> None:
    """A context that was saved after its run had ended carries memory to the next turn, which is a trace of its own."""
    agent = FunctionAgent(name="chatty", llm=ScriptedLLM(["One.", "Two."]))
    context = Context(agent)
    with langfuse_manager.session("s-1"):
        await agent.run("First.", ctx=context)
        context = Context.from_dict(agent, context.to_dict())
        await agent.run("Second.", ctx=context)
    assert [trace.tree() for trace in settled.traces] == [[{"agent chatty": ["generation ScriptedLLM"]}]] * 2
    assert [trace.roots[0].metadata.get("resumed_trace_id") for trace in settled.traces] == [None, None]


def team() -> AgentWorkflow:
    """Return two agents; the first hands over to the second, whose tool asks a person."""
    hand_over = call("handoff", {"to_agent": "closer", "reason": "theirs"}, "h-1")
    opener = FunctionAgent(
        name="opener",
        description="Opens.",
        llm=ScriptedLLM([hand_over]),
        can_handoff_to=["closer"],
    )
    closer = FunctionAgent(
        name="closer",
        description="Closes.",
        llm=ScriptedLLM([call("confirm", {}, "ask-1"), "Done."]),
        tools=[tool(confirm)],
    )
    return AgentWorkflow(agents=[opener, closer], root_agent="opener")


@pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex")
async def test_the_steps_of_agents_go_on(settled: RecordedSessions) -> None:
    """After a handoff, an interrupt and a saved context, steps have the next number and their agent's name."""
    workflow = team()
    with langfuse_manager.session("s-1"):
        saved = await asked(workflow, user_msg="Go.")
        assert str(await continued(workflow, saved, HumanResponseEvent(response="yes"))) == "Done."
    replay, trace = settled.one(), settled.trace()
    assert trace.tree() == [
        {"agent AgentWorkflow": ["generation ScriptedLLM", "tool handoff", "generation ScriptedLLM", "tool confirm"]},
        {"agent AgentWorkflow": ["tool confirm", "generation ScriptedLLM"]},
    ]
    assert [(step.metadata["agent_name"], step.metadata["step_index"]) for step in replay.thinks] == [
        ("opener", 1),
        ("closer", 2),
        ("closer", 3),
    ]
    confirms = [act for act in replay.acts if act.name == "confirm"]
    assert [(act.metadata["agent_name"], act.metadata["step_index"]) for act in confirms] == [("closer", 2)] * 2
    assert [act.status_message for act in confirms] == [WAITING, None]


async def test_a_busy_run_whose_task_ends_is_cancelled(settled: RecordedSessions) -> None:
    """A run whose step works while its task is cancelled is cancelled; one that only waits is not."""
    working, waiting = asyncio.Event(), asyncio.Event()

    class Busy(Workflow):
        @step_of
        async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
            working.set()
            await asyncio.Event().wait()
            return StopEvent()

    class Idle(Workflow):
        @step_of
        async def ask(self, ctx: Context, ev: StartEvent) -> Question:
            waiting.set()
            return Question(prompt="?")

        @step_of
        async def go_on(self, ctx: Context, ev: Answer) -> StopEvent:
            return StopEvent()

    with langfuse_manager.session("s-1"):
        for workflow, reached in ((Busy(), working), (Idle(), waiting)):
            handler = workflow.run()
            await reached.wait()
            if reached is waiting:
                async for event in handler.stream_events():
                    if isinstance(event, Question):
                        break
            task = asyncio.ensure_future(asyncio.wait_for(handler, 60))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(10):
        while settled.still_open:
            await asyncio.sleep(0.01)
    assert [trace.roots[0].status_message for trace in settled.traces] == ["cancelled", WAITING]


async def test_the_class_of_contexts_is_as_it_was() -> None:
    """`uninstrument()` leaves LlamaIndex's own `Context.to_dict`, and recording changes nothing in what it returns."""
    context = Context(Approval())
    recorded = context.to_dict()
    uninstrument()
    assert not hasattr(vars(private.context_class())["to_dict"], "__wrapped__")
    assert context.to_dict() == recorded


async def finished() -> None:
    """Run an agent that asks nobody."""
    await FunctionAgent(name="chatty", llm=ScriptedLLM(["One."])).run("First.")


async def answered(workflow: Any, answer: HumanResponseEvent, **start: Any) -> None:
    """Run a workflow whose question is answered while it runs."""
    handler = workflow.run(**start)
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            handler.ctx.send_event(answer)
    await handler


async def answered_in_a_step() -> None:
    """Run a workflow that waits in a step."""
    await answered(Patient(), Answer(text="yes"))


async def answered_in_a_tool() -> None:
    """Run an agent that waits in a tool."""
    llm = ScriptedLLM([call("confirm", {}, "ask-1"), "Done."])
    agent = FunctionAgent(name="careful", tools=[tool(confirm)], llm=llm)
    await answered(agent, HumanResponseEvent(response="yes"), user_msg="Go.")


async def failed() -> None:
    """Run a workflow that fails."""
    with pytest.raises(ValueError, match="on purpose"):
        await Failing().run()


async def cancelled() -> None:
    """Run a workflow that is cancelled while it waits, and was not saved."""
    handler = Patient().run()
    async for event in handler.stream_events():
        if isinstance(event, Question):
            break
    await handler.cancel_run()
    await asyncio.gather(handler, return_exceptions=True)


class Failing(Workflow):
    """Fails in its only step."""

    @step_of
    async def fail(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Fail."""
        raise ValueError("on purpose")


@pytest.mark.parametrize("ending", [finished, answered_in_a_step, answered_in_a_tool, failed, cancelled])
async def test_a_run_that_cannot_be_continued_leaves_nothing(settled: RecordedSessions, ending: Any) -> None:
    """Nothing is kept of a run that was not saved and has ended, however it ended."""
    with langfuse_manager.session("s-1"):
        await ending()
    assert settled.observations
    assert continuations.kept == {}


async def test_a_saved_run_that_ended_leaves_what_was_saved(settled: RecordedSessions) -> None:
    """A run whose context was saved may be continued from there whatever became of it: one entry, for that context."""
    with langfuse_manager.session("s-1"):
        await asked(Approval())
        assert [key.partition(" ")[0] for key in continuations.kept] == ["saved"]


@pytest.mark.skipif(TAKES_A_WAIT_FOR_AN_ERROR, reason="tools cannot wait with this release of LlamaIndex")
async def test_a_context_of_another_worker_takes_no_trace_with_the_same_call_id(settled: RecordedSessions) -> None:
    """Ada's run waits here for a call whose id Bob's has, too; Bob's, of a worker that shares nothing, is his own."""

    def careful() -> AgentWorkflow:
        llm = ScriptedLLM([call("confirm", {}, "call_0"), "Done."])
        return AgentWorkflow(agents=[FunctionAgent(name="careful", tools=[tool(confirm)], llm=llm)])

    with langfuse_manager.session("s-bob"):
        saved = await asked(careful(), user_msg="Go.")
    settled.clear()
    continuations.kept.clear()
    with langfuse_manager.session("s-ada"):
        await asked(careful(), user_msg="Go.")
    with langfuse_manager.session("s-bob"):
        llm = ScriptedLLM(["Done."])
        workflow = AgentWorkflow(agents=[FunctionAgent(name="careful", tools=[tool(confirm)], llm=llm)])
        await continued(workflow, saved, HumanResponseEvent(response="yes"))
    (ada,), (bob,) = settled.of("s-ada").traces, settled.of("s-bob").traces
    assert ada.tree() == [{"agent AgentWorkflow": ["generation ScriptedLLM", "tool confirm"]}]
    assert bob.tree() == [{"agent AgentWorkflow": ["tool confirm", "generation ScriptedLLM"]}]
    assert "resumed_trace_id" not in bob.roots[0].metadata

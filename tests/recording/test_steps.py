"""Think and act: told apart, counted, linked."""

from __future__ import annotations

import json

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import steps, tracing
from langfuse_integration.recording.steps import AgentSteps
from langfuse_integration.testing import RecordedSessions


def test_an_act_names_the_think_that_asked_for_it(sessions: RecordedSessions) -> None:
    """The link is the tool call's id; it carries the think's observation id and step."""
    agent = AgentSteps("planner")
    with langfuse_manager.trace_span("agent", as_type="agent") as row:
        think = tracing.start("model", "generation")
        agent.think(think)
        agent.decide(think, [("call-1", "search"), ("call-2", "read"), (None, "odd")])
        think.finish()
        act = tracing.start("search", "tool")
        agent.act(act, "call-1")
        act.finish()
        again = tracing.start("model", "generation")
        agent.think(again)
        again.finish()
        agent.close(row)
    first, second = sessions.one().thinks
    assert first.metadata == {
        "step_type": "think",
        "step_index": 1,
        "agent_name": "planner",
        "tool_calls": [
            {"id": "call-1", "name": "search"},
            {"id": "call-2", "name": "read"},
            {"id": None, "name": "odd"},
        ],
    }
    assert second.metadata["step_index"] == 2
    (acted,) = sessions.one().acts
    assert acted.metadata == {
        "step_type": "act",
        "agent_name": "planner",
        "tool_call_id": "call-1",
        "think_id": first.id,
        "step_index": 1,
    }
    assert sessions.trace().one("agent").metadata == {
        "unanswered_tool_calls": [{"id": "call-2", "name": "read", "think_id": first.id}],
    }


def test_an_act_after_a_resume_names_the_think_of_before() -> None:
    """The decisions of an interrupted run are handed to the one that goes on."""
    before = AgentSteps()
    think = tracing.start("model", "generation")
    before.think(think)
    before.decide(think, [("call-1", "pay")])
    after = AgentSteps(decided=before.decided)
    act = tracing.start("pay", "tool")
    after.act(act, "call-1")
    assert act.metadata is not None
    assert act.metadata["think_id"] == think.id
    assert after.unanswered() == []
    assert len(before.unanswered()) == 1


def test_steps_go_on_in_another_process() -> None:
    """As JSON they say all that a later run needs: what was decided, what was answered, and how far the count is."""
    before = AgentSteps("planner")
    think = tracing.start("model", "generation")
    before.think(think)
    before.decide(think, [("call-1", "pay"), ("call-2", "read")])
    before.act(tracing.start("pay", "tool"), "call-1")
    after = AgentSteps.from_json(json.loads(json.dumps(before.to_json())))
    assert (after.name, after.count, after.decided) == ("planner", 1, before.decided)
    assert after.unanswered() == before.unanswered() == [{"id": "call-2", "name": "read", "think_id": think.id}]


def test_steps_of_an_older_worker_go_on() -> None:
    """Release 0.2 kept calls as answered whose decisions it had forgotten: they hide no call that nobody answered."""
    decided = {"call-2": ["read", "0123456789abcdef", 1]}
    after = AgentSteps.from_json(["planner", 1, decided, ["call-1", "call-3"]])
    assert after.answered == set()
    assert [call["id"] for call in after.unanswered()] == ["call-2"]
    assert AgentSteps.from_json(["planner", 1, decided, ["call-2"]]).answered == {"call-2"}


def test_the_decisions_of_one_run_are_bounded() -> None:
    """An agent that asks for calls without end forgets the oldest."""
    agent = AgentSteps()
    think = tracing.start("model", "generation")
    agent.decide(think, [(f"call-{index}", "search") for index in range(steps.CALLS_LIMIT + 50)])
    assert len(agent.decided) == steps.CALLS_LIMIT
    assert "call-49" not in agent.decided
    act = tracing.start("search", "tool")
    agent.act(act, "call-0")
    assert act.metadata == {"step_type": "act", "tool_call_id": "call-0"}


def test_an_id_that_looks_like_a_number_is_read_as_text(sessions: RecordedSessions) -> None:
    """Hex digits may all be decimal, or read as an exponent; the link is found all the same."""
    agent = AgentSteps()
    for call_id, span in (("7", 0x1234567812345678), ("1e5", 0x12345678123456E1)):
        think = tracing.start("model", "generation")
        think.span = span
        agent.think(think)
        agent.decide(think, [(call_id, "search")])
        think.finish()
        act = tracing.start("search", "tool")
        agent.act(act, call_id)
        act.finish()
    assert [(act.metadata["tool_call_id"], act.metadata["think_id"]) for act in sessions.one().acts] == [
        ("7", "1234567812345678"),
        ("1e5", "12345678123456e1"),
    ]

"""AgentExecutor, the older agent of langchain-classic: thinks and acts linked, though its tools know no call id."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_classic.agents import AgentExecutor, create_react_agent, create_tool_calling_agent
from langchain_core.language_models import FakeListLLM
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

from langchain_runs import WAYS, every_way, recorded, search
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from scripted_chat import ScriptedChat, call, calls

pytestmark = pytest.mark.langchain


def executor(*replies: Any, **options: Any) -> AgentExecutor:
    prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
    agent = create_tool_calling_agent(ScriptedChat(*replies), [search], prompt)
    return AgentExecutor(agent=agent, tools=[search], **options)


@every_way
def test_an_executor_is_an_agent(no_open_runs: RecordedSessions, way: str) -> None:
    """Two calls at once, then the answer: two acts of the first think, and no sequence, prompt or parser as a row."""
    asked = calls(("search", {"query": "a"}, "c1"), ("search", {"query": "b"}, "c2"))
    with langfuse_manager.session("s-alice", "alice"):
        WAYS[way](executor(asked, "Done."), {"input": "Hello"})
    trace = no_open_runs.trace()
    assert trace.tree() == [
        {"agent AgentExecutor": ["generation ScriptedChat", "tool search", "tool search", "generation ScriptedChat"]}
    ]
    first, last = trace.named("ScriptedChat")
    assert [found.metadata["step_index"] for found in (first, last)] == [1, 2]
    assert {(act.metadata["tool_call_id"], act.input["query"]) for act in trace.named("search")} == {
        ("c1", "a"),
        ("c2", "b"),
    }
    assert {act.metadata["think_id"] for act in trace.named("search")} == {first.id}
    assert trace.roots[0].input["input"] == "Hello"
    assert trace.roots[0].output["output"] == "Done."
    assert {found.session_id for found in trace.observations} == {"s-alice"}
    assert "unanswered_tool_calls" not in trace.roots[0].metadata


def test_equal_calls_are_matched_in_their_order(no_open_runs: RecordedSessions) -> None:
    """Two calls of one tool with equal arguments get their own call ids, in order."""
    executor(calls(("search", {"query": "a"}, "c1"), ("search", {"query": "a"}, "c2")), "Done.").invoke(
        {"input": "Hello"}, recorded()
    )
    acts = no_open_runs.trace().named("search")
    assert [act.metadata["tool_call_id"] for act in acts] == ["c1", "c2"]


def test_an_executor_with_a_run_name_is_found_by_its_actions(no_open_runs: RecordedSessions) -> None:
    """Under another name it is an agent from its first action on: the act is marked, the later think too."""
    executor(call("search", {"query": "a"}), "Done.").invoke({"input": "Hello"}, recorded(run_name="helper"))
    trace = no_open_runs.trace()
    assert trace.tree() == [{"agent helper": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}]
    assert trace.one("search").is_act


def test_an_agent_that_writes_its_calls_as_text_acts_too(no_open_runs: RecordedSessions) -> None:
    """A ReAct agent's model asks for tools in prose: acts without a call id, still under the agent."""
    prompt = PromptTemplate.from_template("{tools} {tool_names} {input} {agent_scratchpad}")
    model = FakeListLLM(responses=["Thought: search\nAction: search\nAction Input: wool", "Final Answer: Wool."])
    agent = AgentExecutor(agent=create_react_agent(model, [search], prompt), tools=[search])
    agent.invoke({"input": "Hello"}, recorded())
    trace = no_open_runs.trace()
    assert trace.tree() == [
        {"agent AgentExecutor": ["generation FakeListLLM", "tool search", "generation FakeListLLM"]}
    ]
    assert trace.one("search").metadata["step_type"] == "act"
    assert [found.metadata["step_type"] for found in trace.named("FakeListLLM")] == ["think", "think"]


def test_a_tool_that_the_model_made_up_is_not_acted(no_open_runs: RecordedSessions) -> None:
    """The executor answers an invalid tool with one of its own: a row, and no act of the agent's tools."""
    executor(call("made_up", {"query": "a"}), "Done.").invoke({"input": "Hello"}, recorded())
    trace = no_open_runs.trace()
    assert [found.label for found in trace.roots[0].children] == [
        "generation ScriptedChat",
        "tool invalid_tool",
        "generation ScriptedChat",
    ]
    assert trace.roots[0].metadata["unanswered_tool_calls"][0]["name"] == "made_up"

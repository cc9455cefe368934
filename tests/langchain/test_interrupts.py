"""Interrupts and their resumes: one trace, no error, and acts that find the think of before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from langchain_runs import HELLO, search
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_langchain.conversations import Conversation, Threads, threads
from langfuse_integration_langchain.graphs import GraphKey
from scripted_chat import ScriptedChat, call, calls

pytestmark = pytest.mark.langchain


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    threads.clear()
    yield
    threads.clear()


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return str(interrupt({"question": question}))


def recorded(thread: str = "t-1") -> Any:
    return {"callbacks": [SessionHandler()], "configurable": {"thread_id": thread}}


def run(agent: Any, given: Any, way: str = "invoke", thread: str = "t-1") -> Any:
    """Run the agent once, in alice's session."""
    with langfuse_manager.session("s-alice", "alice"):
        if way == "invoke":
            return agent.invoke(given, recorded(thread))
        if way == "ainvoke":
            return asyncio.run(agent.ainvoke(given, recorded(thread)))
        return list(agent.stream(given, recorded(thread)))


def asking(*replies: Any, tools: Any = (ask, search), **options: Any) -> Any:
    return create_agent(ScriptedChat(*replies), list(tools), name="assistant", checkpointer=InMemorySaver(), **options)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_interrupt_and_its_resume_are_one_trace(no_open_runs: RecordedSessions, way: str) -> None:
    """Two roots of one trace: the tool that asked runs twice, both times as an act of the same think."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.")
    run(agent, HELLO, way)
    run(agent, Command(resume="bob"), way)
    trace = no_open_runs.trace()
    assert trace.tree() == [
        {"agent assistant": ["generation ScriptedChat", "tool ask"]},
        {"agent assistant": ["tool ask", "generation ScriptedChat"]},
    ]
    think, last = trace.named("ScriptedChat")
    asked, answered = trace.named("ask")
    assert asked.metadata["think_id"] == answered.metadata["think_id"] == think.id
    assert (think.metadata["step_index"], last.metadata["step_index"]) == (1, 2)
    assert {found.level for found in trace.observations} == {"DEFAULT"}
    assert {found.session_id for found in trace.observations} == {"s-alice"}
    assert asked.status_message == "interrupted"
    assert asked.output["interrupts"][0]["value"] == {"question": "name?"}
    assert (answered.status_message, answered.output) == (None, "bob")
    first, second = trace.roots
    assert all(root.is_root for root in trace.roots)
    assert (first.status_message, second.status_message) == ("interrupted", None)
    assert second.input == {"resume": "bob"}
    assert second.output["messages"][-1]["content"] == "Hello bob."
    assert "unanswered_tool_calls" not in {**first.metadata, **second.metadata}


def test_a_second_interrupt_stays_in_the_trace(no_open_runs: RecordedSessions) -> None:
    """Three runs, two questions: three roots of one trace, the steps counted on."""
    agent = asking(call("ask", {"question": "a?"}, "c1"), call("ask", {"question": "b?"}, "c2"), "Done.")
    run(agent, HELLO)
    run(agent, Command(resume="1"))
    run(agent, Command(resume="2"))
    trace = no_open_runs.trace()
    assert len(trace.roots) == 3
    assert [found.metadata["step_index"] for found in trace.observations if found.is_think] == [1, 2, 3]
    assert len({found.metadata["think_id"] for found in trace.named("ask")}) == 2


def test_after_the_answer_the_next_question_is_a_new_trace(no_open_runs: RecordedSessions) -> None:
    """The thread goes on with new input: that is no resume."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.", "Bye.")
    run(agent, HELLO)
    run(agent, Command(resume="bob"))
    run(agent, {"messages": [("user", "Bye")]})
    assert [len(trace.roots) for trace in no_open_runs.traces] == [2, 1]


def test_threads_do_not_mix(no_open_runs: RecordedSessions) -> None:
    """Two threads of one agent are interrupted, and answered in another order: a trace each."""
    agent = asking(lambda asked: "Hi." if asked[-1].type == "tool" else call("ask", {"question": asked[0].content}))
    for thread in ("t-1", "t-2"):
        run(agent, {"messages": [("user", thread)]}, thread=thread)
    for thread in ("t-2", "t-1"):
        run(agent, Command(resume=thread), thread=thread)
    assert [len(trace.roots) for trace in no_open_runs.traces] == [2, 2]
    for trace, thread in zip(no_open_runs.traces, ("t-1", "t-2"), strict=True):
        assert {root.metadata["thread_id"] for root in trace.roots} == {thread}


def test_a_resume_from_elsewhere_is_in_the_session_of_its_trace(no_open_runs: RecordedSessions) -> None:
    """Somebody without a session answers: the run goes on in the session that it was interrupted in."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.")
    run(agent, HELLO)
    agent.invoke(Command(resume="bob"), recorded())
    assert {(found.session_id, found.user_id) for found in no_open_runs.trace().observations} == {("s-alice", "alice")}


def test_inside_of_a_span_of_the_application_a_resume_stays_there(no_open_runs: RecordedSessions) -> None:
    """Each turn is wrapped by the application: each turn keeps its trace, and the act still names its think."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.")
    for given in (HELLO, Command(resume="bob")):
        with langfuse_manager.trace_span("turn"):
            run(agent, given)
    first, second = no_open_runs.traces
    assert first.tree() == [{"span turn": [{"agent assistant": ["generation ScriptedChat", "tool ask"]}]}]
    assert second.tree() == [{"span turn": [{"agent assistant": ["tool ask", "generation ScriptedChat"]}]}]
    assert second.one("ask").metadata["think_id"] == first.one("ScriptedChat").id


def test_a_call_that_waits_for_approval_is_an_act_when_it_is_approved(no_open_runs: RecordedSessions) -> None:
    """A person approves the call first: the hook shows the question and the decision, the act follows its think."""
    approval = HumanInTheLoopMiddleware(interrupt_on={"search": True})
    agent = asking(call("search", {"query": "wool"}), "Done.", tools=[search], middleware=[approval])
    run(agent, HELLO)
    run(agent, Command(resume={"decisions": [{"type": "approve"}]}))
    trace = no_open_runs.trace()
    hook = "chain HumanInTheLoopMiddleware.after_model"
    assert trace.tree() == [
        {"agent assistant": ["generation ScriptedChat", hook]},
        {"agent assistant": [hook, "tool search", "generation ScriptedChat"]},
    ]
    assert trace.one("search").metadata["think_id"] == trace.named("ScriptedChat")[0].id
    waiting, decided = trace.named("HumanInTheLoopMiddleware.after_model")
    assert waiting.output["interrupts"][0]["value"]["action_requests"][0]["name"] == "search"
    assert (waiting.status_message, decided.status_message) == ("interrupted", None)
    assert {found.level for found in trace.observations} == {"DEFAULT"}


def test_a_call_that_is_rejected_was_never_made(no_open_runs: RecordedSessions) -> None:
    """A person rejects it: no act, and the resumed agent's row says so."""
    approval = HumanInTheLoopMiddleware(interrupt_on={"search": True})
    agent = asking(call("search", {"query": "wool"}), "Done.", tools=[search], middleware=[approval])
    run(agent, HELLO)
    run(agent, Command(resume={"decisions": [{"type": "reject"}]}))
    trace = no_open_runs.trace()
    assert trace.named("search") == []
    assert "unanswered_tool_calls" not in trace.roots[0].metadata
    assert [left["name"] for left in trace.roots[1].metadata["unanswered_tool_calls"]] == ["search"]


def test_a_breakpoint_is_resumed_without_input(no_open_runs: RecordedSessions) -> None:
    """A graph that stops before its tools and goes on with None: one trace, and the act has its think."""
    model = ScriptedChat(call("search", {"query": "wool"}), "Done.").bind_tools([search])
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("think", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([search]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    agent = graph.compile(checkpointer=InMemorySaver(), interrupt_before=["tools"], name="stepwise")
    run(agent, HELLO)
    run(agent, None)
    trace = no_open_runs.trace()
    assert trace.tree() == [
        {"agent stepwise": [{"chain think": ["generation ScriptedChat"]}]},
        {"agent stepwise": [{"chain tools": ["tool search"]}, {"chain think": ["generation ScriptedChat"]}]},
    ]
    assert trace.one("search").metadata["think_id"] == trace.named("ScriptedChat")[0].id


def test_an_interrupt_in_an_agent_inside_of_a_tool_is_no_error(no_open_runs: RecordedSessions) -> None:
    """The inner agent asks: it, the tool and the outer agent wait, and all of them go on in the same trace."""
    inner = create_agent(
        ScriptedChat(call("ask", {"question": "name?"}, "inner_1"), "Inner."), [ask], name="researcher"
    )

    @tool
    def research(topic: str) -> str:
        """Research."""
        return str(inner.invoke({"messages": [("user", topic)]})["messages"][-1].content)

    agent = asking(call("research", {"topic": "bob"}, "outer_1"), "Outer.", tools=[research])
    run(agent, HELLO)
    run(agent, Command(resume="bob"))
    trace = no_open_runs.trace()
    assert [root.label for root in trace.roots] == ["agent assistant", "agent assistant"]
    assert {found.level for found in trace.observations} == {"DEFAULT"}
    assert [found.status_message for found in trace.named("researcher")] == ["interrupted", None]
    assert {found.metadata["think_id"] for found in trace.named("research")} == {trace.named("ScriptedChat")[0].id}
    assert trace.roots[1].output["messages"][-1]["content"] == "Outer."


def test_of_parallel_calls_only_the_one_that_asked_runs_again(no_open_runs: RecordedSessions) -> None:
    """Two calls at once, one of them asks: each run of either is linked to the think of both."""
    asked = calls(("search", {"query": "wool"}, "c1"), ("ask", {"question": "name?"}, "c2"))
    agent = asking(asked, "Done.")
    run(agent, HELLO)
    run(agent, Command(resume="bob"))
    trace = no_open_runs.trace()
    think = trace.named("ScriptedChat")[0]
    acts = [found for found in trace.observations if found.is_act]
    assert [act.status_message for act in acts if act.name == "ask"] == ["interrupted", None]
    assert len([act for act in acts if act.name == "search"]) == 1
    assert {act.metadata["think_id"] for act in acts} == {think.id}
    assert "unanswered_tool_calls" not in trace.roots[1].metadata


def test_the_memory_of_threads_is_bounded(sessions: RecordedSessions) -> None:
    """Past the limit the tasks and graphs that were unused for longest are forgotten."""
    memory = Threads(limit=4)
    graph = GraphKey("book", 1)
    with langfuse_manager.trace_span("root") as root:
        for thread in ("t-1", "t-2", "t-1", "t-3"):
            memory.remember(thread, ["book:1", "book:2"], Conversation(root))
        assert [memory.recall(thread, "book:2") is not None for thread in ("t-1", "t-2", "t-3")] == [True, False, True]
        assert memory.recall("t-1", "book:3") is None
        memory.stopped("t-4", "request 1", graph, Conversation(root))  # with its name and without
    assert len(memory) == 4
    assert memory.recall("t-1", "book:2") is None
    assert memory.last("t-4", "request 2", graph) is not None
    memory.stopped("t-4", "request 1", graph, None)
    assert [memory.last("t-4", "request 1", graph), len(memory)] == [None, 2]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_a_resume_in_another_session_is_a_trace_of_its_own(no_open_runs: RecordedSessions, way: str) -> None:
    """An approver resumes: two traces, each in one session, linked both ways; the act still names its think."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.")
    run(agent, HELLO, way)
    with langfuse_manager.session("s-boss", "boss"):
        if way == "ainvoke":
            asyncio.run(agent.ainvoke(Command(resume="bob"), recorded()))
        elif way == "stream":
            list(agent.stream(Command(resume="bob"), recorded()))
        else:
            agent.invoke(Command(resume="bob"), recorded())
    first, second = no_open_runs.traces
    assert {(row.session_id, row.user_id) for row in first.observations} == {("s-alice", "alice")}
    assert {(row.session_id, row.user_id) for row in second.observations} == {("s-boss", "boss")}
    assert second.tree() == [{"agent assistant": ["tool ask", "generation ScriptedChat"]}]
    assert second.roots[0].metadata["resumed_trace_id"] == first.id
    assert first.one("resumed in another session").metadata["resumed_in_trace_id"] == second.id
    assert len(first.roots) == 1
    assert second.one("ask").metadata["think_id"] == first.one("ScriptedChat").id


def test_a_name_for_each_run_changes_nothing(no_open_runs: RecordedSessions) -> None:
    """The application names each run of a graph differently: interrupt and resume are still one trace."""
    agent = asking(call("ask", {"question": "name?"}), "Hello bob.")
    with langfuse_manager.session("s-alice", "alice"):
        agent.invoke(HELLO, {**recorded(), "run_name": "request 1"})
        agent.invoke(Command(resume="bob"), {**recorded(), "run_name": "request 2"})
    assert len(no_open_runs.trace().roots) == 2


def test_only_a_resume_continues_a_trace(sessions: RecordedSessions) -> None:
    """A new input on the same thread begins a trace of its own; so does a Command that resumes nothing."""
    agent = asking(call("ask", {"question": "Which farm?"}), "Done.", "Again.")
    run(agent, HELLO)
    run(agent, Command(resume="Old Mill"))
    run(agent, HELLO)
    assert [len(trace.roots) for trace in sessions.traces] == [2, 1]


class AskingChat(ScriptedChat):
    """A model that asks the user before it answers."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
        self.replies[0] = str(interrupt({"question": "may I?"}))
        return super()._generate(messages, stop, run_manager, **options)


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_interrupt_in_a_model_is_no_error(no_open_runs: RecordedSessions, way: str) -> None:
    """The model's row ends as interrupted, with the question; the resumed one has the answer, in the same trace."""
    model = AskingChat("")
    graph = StateGraph(MessagesState).add_node("talk", lambda state: {"messages": [model.invoke(state["messages"])]})
    talker = graph.add_edge(START, "talk").compile(checkpointer=InMemorySaver(), name="talker")
    run(talker, HELLO, way)
    run(talker, Command(resume="yes"), way)
    trace = no_open_runs.trace()
    first, second = trace.named("AskingChat")
    assert (first.level, first.status_message) == ("DEFAULT", "interrupted")
    assert first.output["interrupts"][0]["value"] == {"question": "may I?"}
    assert (second.level, second.output["content"]) == ("DEFAULT", "yes")
    assert {row.level for row in trace.observations} == {"DEFAULT"}

"""Tool calls and their answers: matched by id, or by name and arguments, wherever the graph keeps its messages."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_runs import WAYS, every_way, recorded, search
from langfuse_integration.testing import RecordedSessions
from scripted_chat import ScriptedChat, calls

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]


class State(TypedDict):
    """A state whose list of messages has a name of its own."""

    research: Annotated[list[AnyMessage], add_messages]


def herder(act: Any, *replies: Any) -> Any:
    """Return a hand-built agent that calls tools in its node *act*."""
    model = ScriptedChat(*replies)

    def think(state: State) -> Any:
        return {"research": [model.invoke(state["research"])]}

    graph: StateGraph[Any, Any, Any] = StateGraph(State)
    graph.add_node("think", think)
    graph.add_node("act", act)
    graph.add_edge(START, "think")
    graph.add_edge("act", "think")
    graph.add_conditional_edges("think", lambda state: "act" if state["research"][-1].tool_calls else END, ["act", END])
    return graph.compile(name="herder")


GIVEN: Any = {"research": [HumanMessage("What do llamas eat?")]}
TWO = calls(("search", {"query": "hay"}, "c1"), ("search", {"query": "straw"}, "c2"))


def run_tools(state: State) -> Any:
    """Run the tools that were asked for, in reverse, without passing the calls' ids to them."""
    asked = state["research"][-1].tool_calls  # type: ignore[union-attr]
    return {"research": [ToolMessage(search.invoke(one["args"]), tool_call_id=one["id"]) for one in reversed(asked)]}


def run_tools_on_a_part(state: State, config: RunnableConfig) -> Any:
    """Run the tools through a function whose input as a node does not show the calls."""
    return {
        "research": [
            ToolMessage(search.invoke(one["args"], config), tool_call_id=one["id"])
            for one in state["research"][-1].tool_calls
        ]
    }  # type: ignore[union-attr]


@every_way
@pytest.mark.parametrize("act", [run_tools, run_tools_on_a_part])
def test_calls_are_found_by_name_and_arguments(sessions: RecordedSessions, way: str, act: Any) -> None:
    """A node of the application calls its tools with the arguments alone: each is an act of the think that asked."""
    WAYS[way](herder(act, TWO, "They eat hay."), GIVEN)
    trace = sessions.trace()
    think = trace.named("ScriptedChat")[0]
    assert {(row.input["query"], row.metadata["tool_call_id"]) for row in trace.acts} == {
        ("hay", "c1"),
        ("straw", "c2"),
    }
    assert {row.metadata["think_id"] for row in trace.acts} == {think.id}
    assert "unanswered_tool_calls" not in trace.roots[0].metadata


@every_way
def test_a_node_that_answers_itself_leaves_no_call_open(sessions: RecordedSessions, way: str) -> None:
    """No tool is run at all: the node's own messages are the answers, and no act is made up."""

    def answer(state: State) -> Any:
        asked = state["research"][-1].tool_calls  # type: ignore[union-attr]
        return {"research": [ToolMessage("known", tool_call_id=one["id"]) for one in asked]}

    WAYS[way](herder(answer, TWO, "They eat hay."), GIVEN)
    trace = sessions.trace()
    assert trace.acts == []
    assert "unanswered_tool_calls" not in trace.roots[0].metadata


def test_an_error_that_a_node_answers_is_a_failed_act(sessions: RecordedSessions) -> None:
    """One of two calls is answered with an error by the node itself, in a Command: an act below the node."""

    def answer(state: State) -> Any:
        messages = [
            ToolMessage("known", tool_call_id="c1"),
            ToolMessage("no straw here", tool_call_id="c2", status="error"),
        ]
        return Command(update={"research": messages})

    herder(answer, TWO, "They eat hay.").invoke(GIVEN, recorded())
    trace = sessions.trace()
    (act,) = trace.acts
    assert (act.label, act.level, act.status_message, act.input) == (
        "tool search",
        "ERROR",
        "no straw here",
        {"query": "straw"},
    )
    assert trace.one("act").children == [act]
    assert "unanswered_tool_calls" not in trace.roots[0].metadata


@every_way
def test_a_call_without_a_name_has_one_in_its_row(sessions: RecordedSessions, way: str) -> None:
    """A client that tears a stream apart asks for calls without a name: LangChain refuses them, and names them so."""
    torn = AIMessage(
        "",
        tool_calls=[{"name": "search", "args": {"query": "hay"}, "id": "c1"}, {"name": "", "args": {}, "id": "c2"}],
        invalid_tool_calls=[{"name": None, "args": "y}", "id": "c3", "error": None}],
    )
    WAYS[way](create_agent(ScriptedChat(torn, "They eat hay."), [search], name="herder"), {"messages": [("user", "?")]})
    trace = sessions.trace()
    think = trace.named("ScriptedChat")[0]
    told = {act.metadata["tool_call_id"]: (act.name, act.level) for act in trace.acts}
    # Whatever could not be read as a call is answered by newer releases only (langchain 1.4), and left open before.
    left = {call["id"]: (call["name"], "ERROR") for call in trace.roots[0].metadata.get("unanswered_tool_calls", ())}
    assert {**told, **left} == {"c1": ("search", "DEFAULT"), "c2": ("unknown", "ERROR"), "c3": ("unknown", "ERROR")}
    assert {"c1", "c2"} <= told.keys()
    assert {act.metadata["think_id"] for act in trace.acts} == {think.id}
    assert [made["name"] for made in think.metadata["tool_calls"]] == ["search", "unknown", "unknown"]


def test_a_call_that_nobody_answers_is_still_said_to_be_open(sessions: RecordedSessions) -> None:
    """The node answers one of two calls: the other one was never made, and the agent's row says so."""

    def half(state: State) -> Any:
        return {"research": [ToolMessage("known", tool_call_id="c1")]}

    herder(half, TWO, "They eat hay.").invoke(GIVEN, recorded())
    (left,) = sessions.trace().roots[0].metadata["unanswered_tool_calls"]
    assert left["id"] == "c2"


def test_an_error_inside_a_command_is_the_tools_error(sessions: RecordedSessions) -> None:
    """A tool returns a Command whose tool message is an error: the row is ERROR with its text."""

    @tool
    def move(place: str) -> Any:
        """Move."""
        return Command(update={"messages": [ToolMessage("no such place", tool_call_id="c1", status="error")]})

    move.invoke({"place": "x"}, recorded())
    row = sessions.observations[0]
    assert (row.level, row.status_message) == ("ERROR", "no such place")


def test_an_artifact_is_kept_beside_the_content(sessions: RecordedSessions) -> None:
    """A tool that returns content and artifact: both are its output."""

    @tool(response_format="content_and_artifact")
    def count(word: str) -> Any:
        """Count."""
        return "4 letters", {"letters": 4}

    count.invoke({"name": "count", "args": {"word": "hays"}, "id": "c1", "type": "tool_call"}, recorded())
    assert sessions.observations[0].output == {"content": "4 letters", "artifact": {"letters": 4}}


@tool
def hand_over(query: str, tool_call_id: Annotated[str, InjectedToolCallId]) -> Any:
    """Hand over the history, in which an earlier call failed."""
    older = ToolMessage("older", tool_call_id="older", status="error")
    own = ToolMessage("refused" if query == "no" else "done", tool_call_id=tool_call_id)
    if query == "no":
        own.status = "error"
    return Command(update={"research": [older, own]})


@every_way
def test_an_error_in_a_command_is_the_tools(no_open_runs: RecordedSessions, way: str) -> None:
    """The error message of this very call, in any list of the state, makes its row ERROR; an older one does not."""
    asked = calls(("hand_over", {"query": "no"}, "c1"), ("hand_over", {"query": "yes"}, "c2"))
    agent = herder(ToolNode([hand_over], messages_key="research"), asked, "Sorry.")
    WAYS[way](agent, GIVEN)
    rows = {row.metadata["tool_call_id"]: row for row in no_open_runs.trace().named("hand_over")}
    assert (rows["c1"].level, rows["c1"].status_message) == ("ERROR", "refused")
    assert (rows["c2"].level, rows["c2"].status_message) == ("DEFAULT", None)


class Order:
    """What a herder is told to do; its class is called as LangGraph's is."""

    def __init__(self, text: str) -> None:
        self.text = text


Order.__name__ = "Command"


class Orders(TypedDict):
    """A state with orders, of a class that LangGraph does not know."""

    messages: Annotated[list[AnyMessage], add_messages]
    orders: list[Order]


@every_way
def test_an_applications_own_commands_are_none(no_open_runs: RecordedSessions, way: str) -> None:
    """A class that is only called like LangGraph's Command is a value like others."""
    model = ScriptedChat(calls(("search", {"query": "hay"}, "c1")))
    graph: StateGraph[Any, Any, Any] = StateGraph(Orders)
    graph.add_node("think", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("order", lambda state: {"orders": [Order("Go left.")]})
    graph.add_edge(START, "think")
    graph.add_edge("think", "order")
    WAYS[way](graph.compile(name="herder"), {"messages": [HumanMessage("Where to?")], "orders": []})
    trace = no_open_runs.trace()
    assert trace.tree() == [{"agent herder": [{"chain think": ["generation ScriptedChat"]}, "chain order"]}]

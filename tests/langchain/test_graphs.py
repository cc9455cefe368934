"""Graphs that users build with LangGraph: their nodes are rows, what LangGraph adds is none."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import Command, RetryPolicy, Send
from pydantic import BaseModel

from langchain_runs import HELLO, WAYS, every_way, recorded, search
from langfuse_integration.testing import RecordedSessions
from scripted_chat import ScriptedChat, call, calls

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]


class Words(TypedDict, total=False):
    """A state that collects words."""

    words: Annotated[list[str], operator.add]


def says(word: str) -> Any:
    """Return a node's function that adds a word."""

    def node(state: Words) -> Words:
        return {"words": [word]}

    return node


def line(*nodes: tuple[str, Any], state: Any = Words) -> StateGraph[Any, Any, Any]:
    """Return a graph of nodes one after the other."""
    graph: StateGraph[Any, Any, Any] = StateGraph(state)
    graph.add_sequence(list(nodes))
    graph.add_edge(START, nodes[0][0])
    return graph


@every_way
def test_nodes_are_rows_and_routing_is_none(sessions: RecordedSessions, way: str) -> None:
    """Two nodes, and a function that chooses between them: the function is no row, the state is input and output."""

    def choose(state: Words) -> str:
        return "second"

    graph = line(("first", says("a")))
    graph.add_node("second", says("b"))
    graph.add_conditional_edges("first", choose, ["second", END])
    WAYS[way](graph.compile(), {"words": ["start"]})
    trace = sessions.trace()
    assert trace.tree() == [{"chain LangGraph": ["chain first", "chain second"]}]
    root, first, second = trace.observations
    assert (root.input, root.output) == ({"words": ["start"]}, {"words": ["start", "a", "b"]})
    assert (first.input, first.output) == ({"words": ["start"]}, {"words": ["a"]})
    assert second.metadata == {"langgraph_node": "second", "langgraph_step": 2}


@every_way
def test_parallel_branches_stand_side_by_side(sessions: RecordedSessions, way: str) -> None:
    """Two nodes in one step, joined by a third: siblings, none below another."""
    graph: StateGraph[Any, Any, Any] = StateGraph(Words)
    for name in ("left", "right", "join"):
        graph.add_node(name, says(name))
    for name in ("left", "right"):
        graph.add_edge(START, name)
    graph.add_edge(["left", "right"], "join")
    WAYS[way](graph.compile(name="fork"), {"words": []})
    (root,) = sessions.trace().roots
    assert sorted(child.label for child in root.children) == ["chain join", "chain left", "chain right"]
    assert root.children[-1].label == "chain join"
    assert not any(child.children for child in root.children)


@every_way
def test_sent_work_is_a_row_each(sessions: RecordedSessions, way: str) -> None:
    """A map over three values with Send: three rows of the same node, each with its own input."""
    graph = line(("plan", says("plan")))
    graph.add_node("work", lambda value: {"words": [value["word"]]})
    graph.add_conditional_edges("plan", lambda state: [Send("work", {"word": word}) for word in "abc"], ["work"])
    WAYS[way](graph.compile(), {"words": []})
    (root,) = sessions.trace().roots
    assert [child.label for child in root.children] == ["chain plan", "chain work", "chain work", "chain work"]
    assert sorted(child.input["word"] for child in root.children[1:]) == ["a", "b", "c"]


@every_way
def test_a_graph_as_a_node_is_one_row(sessions: RecordedSessions, way: str) -> None:
    """LangGraph announces a compiled subgraph twice, as the node and as the graph: one row, with its nodes below."""
    inner = line(("inner", says("in"))).compile()
    WAYS[way](line(("before", says("a")), ("sub", inner)).compile(), {"words": []})
    assert sessions.trace().tree() == [{"chain LangGraph": ["chain before", {"chain sub": ["chain inner"]}]}]


def test_a_graph_called_by_a_node_is_a_row_of_its_own(sessions: RecordedSessions) -> None:
    """A node's function calls another graph with another input: node and graph are two things."""
    inner = line(("inner", says("in"))).compile(name="helper")

    def ask(state: Words) -> Words:
        return {"words": inner.invoke({"words": ["other"]})["words"]}

    line(("ask", ask)).compile().invoke({"words": []}, recorded())
    assert sessions.trace().tree() == [{"chain LangGraph": [{"chain ask": [{"chain helper": ["chain inner"]}]}]}]


def test_runnables_as_nodes_are_the_node(sessions: RecordedSessions) -> None:
    """An anonymous function is the node itself; of a sequence the named functions stand below it."""

    def shorten(state: Words) -> Words:
        return {"words": ["short"]}

    graph = line(
        ("anonymous", RunnableLambda(lambda state: {"words": ["x"]})),
        ("sequence", RunnablePassthrough() | RunnableLambda(shorten)),
    )
    graph.compile().invoke({"words": []}, recorded())
    assert sessions.trace().tree() == [{"chain LangGraph": ["chain anonymous", {"chain sequence": ["chain shorten"]}]}]


@every_way
def test_a_retried_node_shows_each_attempt(sessions: RecordedSessions, way: str) -> None:
    """RetryPolicy: the failed attempt and the one that worked, and the graph is fine."""
    attempts: list[int] = []

    def flaky(state: Words) -> Words:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("try again")
        return {"words": ["ok"]}

    graph: StateGraph[Any, Any, Any] = StateGraph(Words)
    graph.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    graph.add_edge(START, "flaky")
    WAYS[way](graph.compile(), {"words": []})
    trace = sessions.trace()
    assert trace.tree() == [{"chain LangGraph": ["chain flaky", "chain flaky"]}]
    assert [(found.level, found.status_message) for found in trace.observations] == [
        ("DEFAULT", None),
        ("ERROR", "ConnectionError: try again"),
        ("DEFAULT", None),
    ]


@every_way
def test_a_node_that_raises_is_an_error_once_on_each_level(sessions: RecordedSessions, way: str) -> None:
    """The node and the graph are errors, and the exception reaches the caller."""

    def broken(state: Words) -> Words:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        WAYS[way](line(("first", says("a")), ("broken", broken)).compile(), {"words": []})
    trace = sessions.trace()
    assert trace.tree() == [{"chain LangGraph": ["chain first", "chain broken"]}]
    assert [found.level for found in trace.observations] == ["ERROR", "DEFAULT", "ERROR"]


def test_a_branch_that_is_cancelled_for_another_is_no_error(sessions: RecordedSessions) -> None:
    """One of two async branches fails: the other one was cancelled."""

    async def slow(state: Words) -> Words:
        await asyncio.sleep(60)
        return {}

    async def broken(state: Words) -> Words:
        await asyncio.sleep(0.01)
        raise ValueError("broken")

    graph: StateGraph[Any, Any, Any] = StateGraph(Words)
    for name, node in (("slow", slow), ("broken", broken)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
    with pytest.raises(ValueError, match="broken"):
        asyncio.run(graph.compile().ainvoke({"words": []}, recorded()))
    trace = sessions.trace()
    assert (trace.one("slow").level, trace.one("slow").status_message) == ("DEFAULT", "cancelled")
    assert trace.one("broken").level == "ERROR"


def test_a_failing_choice_of_the_way_is_shown(sessions: RecordedSessions) -> None:
    """The function that chooses where to go fails by itself: it is a row after all."""

    def choose(state: Words) -> str:
        raise KeyError("nowhere")

    graph = line(("first", says("a")))
    graph.add_conditional_edges("first", choose, [END])
    with pytest.raises(KeyError):
        graph.compile().invoke({"words": []}, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain LangGraph": [{"chain first": ["chain choose"]}]}]
    assert trace.one("choose").level == "ERROR"


@every_way
def test_a_workflow_of_functions_is_named_by_its_function(sessions: RecordedSessions, way: str) -> None:
    """LangGraph's functional API: the entry point, and below it its tasks, the models and graphs that they call."""
    inner = line(("inner", says("in"))).compile(name="helper")

    @task
    def double(value: int) -> int:
        return value * 2

    @task
    def ask(question: str) -> str:
        return str(ScriptedChat("Done.").invoke(question).content)

    @task
    def delegate(value: int) -> Any:
        return inner.invoke({"words": []})

    @entrypoint()
    def workflow(value: int) -> int:
        ask("why?").result()
        delegate(value).result()
        return double(value).result()

    WAYS[way](workflow, 4)
    trace = sessions.trace()
    helper = {"chain helper": ["chain inner"]}
    tasks = [{"chain ask": ["generation ScriptedChat"]}, {"chain delegate": [helper]}, "chain double"]
    assert trace.tree() == [{"chain workflow": tasks}]
    assert trace.one("double").output == 8


def test_a_workflow_in_a_node_and_one_with_a_run_name(sessions: RecordedSessions) -> None:
    """The function's name takes precedence over the node's; a name for the run hides no function."""

    @entrypoint()
    async def workflow(value: Any) -> Any:
        return {"words": ["w"]}

    asyncio.run(line(("node", workflow)).compile().ainvoke({"words": []}, recorded()))
    asyncio.run(workflow.ainvoke({}, recorded(run_name="tonight")))
    trees = [trace.tree() for trace in sessions.traces]
    assert trees == [[{"chain LangGraph": ["chain workflow"]}], [{"chain tonight": ["chain workflow"]}]]


@every_way
def test_hidden_steps_make_no_row(sessions: RecordedSessions, way: str) -> None:
    """A conditional entry gives `__start__` steps of its own: neither it nor what it chooses by is a row."""
    graph: StateGraph[Any, Any, Any] = StateGraph(Words)
    graph.add_node("one", says("1"))
    graph.add_node("two", RunnableLambda(says("2")).with_config(tags=["langsmith:hidden"]))
    graph.add_conditional_edges(START, lambda state: "one", ["one"])
    graph.add_edge("one", "two")
    WAYS[way](graph.compile(name="entry"), {"words": []})
    assert sessions.trace().tree() == [{"chain entry": ["chain one", "chain two"]}]


# -- graphs that turn out to be agents


def reasoner(*replies: Any, name: str | None = None, bound: bool = True) -> Any:
    """Return the agent that tutorials build by hand: a model node, a tool node, and a loop between them."""
    model: Any = ScriptedChat(*replies)
    if bound:
        model = model.bind_tools([search])

    def think(state: MessagesState) -> dict[str, list[AnyMessage]]:
        return {"messages": [model.invoke(state["messages"])]}

    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([search]))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile(name=name) if name else graph.compile()


@every_way
def test_a_graph_with_a_model_that_has_tools_is_an_agent(sessions: RecordedSessions, way: str) -> None:
    """The nodes are the user's own and stay; thinks and acts are marked and linked as in LangChain's own agents."""
    asked = calls(("search", {"query": "a"}, "c1"), ("search", {"query": "b"}, "c2"))
    WAYS[way](reasoner(asked, "Done.", name="thinker"), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent thinker": [
                {"chain think": ["generation ScriptedChat"]},
                {"chain tools": ["tool search", "tool search"]},
                {"chain think": ["generation ScriptedChat"]},
            ]
        }
    ]
    first, last = trace.named("ScriptedChat")
    assert [found.metadata["step_index"] for found in (first, last)] == [1, 2]
    assert first.metadata["agent_name"] == "thinker"
    assert {act.metadata["think_id"] for act in trace.named("search")} == {first.id}


def test_a_model_that_asks_for_tools_unoffered_thinks_too(sessions: RecordedSessions) -> None:
    """The tools are not told, but calls come out: that was a think; the answer at the end was none."""
    reasoner(call("search", {"query": "a"}), "Done.", bound=False).invoke(HELLO, recorded())
    trace = sessions.trace()
    assert trace.roots[0].label == "agent LangGraph"
    assert [found.is_think for found in trace.named("ScriptedChat")] == [True, False]
    assert trace.one("search").metadata["think_id"] == trace.named("ScriptedChat")[0].id


def test_a_graph_that_only_talks_is_no_agent(sessions: RecordedSessions) -> None:
    """No tools offered and none asked for: a chain, and generations that decide nothing."""
    reasoner("Done.", bound=False).invoke(HELLO, recorded())
    assert sessions.trace().tree() == [{"chain LangGraph": [{"chain think": ["generation ScriptedChat"]}]}]
    assert not any(found.is_think for found in sessions.observations)


def test_a_router_with_structured_output_is_no_agent(sessions: RecordedSessions) -> None:
    """Structured output looks like a tool call, but nobody acts on it."""

    class Route(BaseModel):
        """Where to go."""

        to: str

    router = ScriptedChat(call("Route", {"to": "end"})).with_structured_output(Route)

    def route(state: Words) -> Words:
        return {"words": [router.invoke("where?").to]}

    line(("route", route)).compile().invoke({"words": []}, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"chain LangGraph": [{"chain route": ["generation ScriptedChat"]}]}]
    assert not any(found.is_think for found in trace.observations)


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_the_prebuilt_agent_of_langgraph_is_an_agent(sessions: RecordedSessions) -> None:
    """LangGraph's own older agent, with a prompt: its inner steps are no rows."""
    model = ScriptedChat(call("search", {"query": "a"}), "Done.")
    agent = create_react_agent(model, [search], name="older", prompt="Be brief.")
    agent.invoke(HELLO, recorded())
    trace = sessions.trace()
    assert trace.tree() == [{"agent older": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}]
    assert trace.one("search").metadata["think_id"] == trace.named("ScriptedChat")[0].id


@every_way
def test_agents_as_nodes_are_agents_and_one_row_each(sessions: RecordedSessions, way: str) -> None:
    """Two agents in a graph of the user: agents below a chain, not wrapped in their nodes."""
    first = create_agent(ScriptedChat(call("search", {"query": "a"}), "One."), [search], name="first")
    second = create_agent(ScriptedChat("Two."), [search], name="researcher")
    WAYS[way](line(("first", first), ("second", second), state=MessagesState).compile(name="team"), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "chain team": [
                {"agent first": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]},
                {"agent researcher": ["generation ScriptedChat"]},
            ]
        }
    ]
    assert [found.metadata["agent_name"] for found in trace.observations if found.is_think] == [
        "first",
        "first",
        "researcher",
    ]


@every_way
def test_a_handoff_is_no_error(sessions: RecordedSessions, way: str) -> None:
    """A tool hands over to another agent: LangGraph raises for it on three levels, and nothing went wrong."""

    @tool
    def hand_over() -> Any:
        """Hand over to bob."""
        return Command(goto="bob", graph=Command.PARENT)

    alice = create_agent(ScriptedChat(call("hand_over", {})), [hand_over], name="alice")
    bob = create_agent(ScriptedChat("I am bob."), [], name="bob")
    graph: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("alice", alice, destinations=("bob",))
    graph.add_node("bob", bob)
    graph.add_edge(START, "alice")
    WAYS[way](graph.compile(name="team"), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "chain team": [
                {"agent alice": ["generation ScriptedChat", "tool hand_over"]},
                {"agent bob": ["generation ScriptedChat"]},
            ]
        }
    ]
    assert {found.level for found in trace.observations} == {"DEFAULT"}
    assert trace.one("alice").status_message == "handed over"
    assert trace.one("alice").output["goto"] == "bob"
    assert trace.one("hand_over").output["goto"] == "bob"
    assert trace.one("hand_over").status_message is None


def test_an_act_in_another_graph_finds_its_think(sessions: RecordedSessions) -> None:
    """A subgraph decides, a node outside of it acts: the act is linked to the think that asked for it."""
    model = ScriptedChat(call("search", {"query": "a"})).bind_tools([search])

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    thinker = line(("think", think), state=MessagesState).compile(name="thinker")
    line(("thinker", thinker), ("tools", ToolNode([search])), state=MessagesState).compile().invoke(HELLO, recorded())
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "chain LangGraph": [
                {"agent thinker": [{"chain think": ["generation ScriptedChat"]}]},
                {"chain tools": ["tool search"]},
            ]
        }
    ]
    assert trace.one("search").metadata["think_id"] == trace.one("ScriptedChat").id

"""Agents that LangGraph's own packages make and put together: their names, and no rows of plumbing."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent
from langgraph.types import Command, interrupt

from langchain_runs import HELLO, recorded
from langfuse_integration.testing import RecordedSessions
from scripted_chat import ScriptedChat, call

pytestmark = [
    pytest.mark.langchain,
    pytest.mark.filterwarnings("ignore:create_react_agent has been moved", "ignore:.*config_schema.*"),
    pytest.mark.usefixtures("in_alices_session"),
]
GENERATION = "generation ScriptedChat"
MAKERS = pytest.mark.parametrize("make", [create_agent, create_react_agent])


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def adder(make: Callable[..., Any], **options: Any) -> Any:
    """Return an agent that adds once."""
    return make(ScriptedChat(call("add", {"a": 2, "b": 3}, "c1"), "5"), [add], **options)


@MAKERS
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_agent_is_its_thinks_and_acts(no_open_runs: RecordedSessions, make: Any, way: str) -> None:
    """LangGraph's prebuilt agent and LangChain's make the same tree, without rows for their nodes."""
    agent = adder(make, name="adder")
    if way == "invoke":
        agent.invoke(HELLO, recorded())
    elif way == "ainvoke":
        asyncio.run(agent.ainvoke(HELLO, recorded()))
    else:
        list(agent.stream(HELLO, recorded()))
    trace = no_open_runs.trace()
    assert trace.tree() == [{"agent adder": [GENERATION, "tool add", GENERATION]}]
    assert [think.metadata["step_index"] for think in trace.thinks] == [1, 2]
    assert {row.metadata["agent_name"] for row in (*trace.thinks, *trace.acts)} == {"adder"}


@MAKERS
def test_an_agent_without_tools_thinks(no_open_runs: RecordedSessions, make: Any) -> None:
    """An agent without tools is an agent, and its one model call a think."""
    make(ScriptedChat("Hm."), [], name="talker").invoke(HELLO, recorded())
    trace = no_open_runs.trace()
    assert trace.tree() == [{"agent talker": [GENERATION]}]
    assert [think.metadata["agent_name"] for think in trace.thinks] == ["talker"]


def test_a_prebuilt_agent_with_more_nodes_shows_those(no_open_runs: RecordedSessions) -> None:
    """The hooks of a prebuilt agent, which the application wrote, have their rows; its failing model is ERROR once."""

    def trim(state: Any) -> Any:
        return {"llm_input_messages": state["messages"][-1:]}

    agent = create_react_agent(ScriptedChat(ValueError("down")), [add], name="adder", pre_model_hook=trim)
    with pytest.raises(ValueError, match="down"):
        agent.invoke(HELLO, recorded())
    trace = no_open_runs.trace()
    assert trace.tree() == [{"agent adder": ["chain pre_model_hook", GENERATION]}]
    assert [row.level for row in trace.named("ScriptedChat")] == ["ERROR"]


def test_nodes_of_the_applications_own_keep_their_rows(no_open_runs: RecordedSessions) -> None:
    """A graph that is built by hand with nodes named "agent" and "tools" has them as rows."""
    model = ScriptedChat(call("add", {"a": 2, "b": 3}, "c1"), "5")
    graph = StateGraph(MessagesState)
    graph.add_node("agent", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([add]))
    graph.add_edge(START, "agent").add_edge("tools", "agent")
    graph.add_conditional_edges("agent", lambda state: "tools" if state["messages"][-1].tool_calls else END)
    graph.compile(name="by hand").invoke({"messages": [HumanMessage("2+3?")]}, recorded())
    nodes = [{"chain agent": [GENERATION]}, {"chain tools": ["tool add"]}, {"chain agent": [GENERATION]}]
    assert no_open_runs.trace().tree() == [{"agent by hand": nodes}]


@MAKERS
@pytest.mark.parametrize("mode", ["full_history", "last_message"])
@pytest.mark.parametrize("way", ["invoke", "astream"])
def test_a_supervisors_agents_have_their_names(no_open_runs: RecordedSessions, make: Any, mode: Any, way: str) -> None:
    """A supervisor and its agents are one row each time they run, in the order in which they ran."""
    supervising = pytest.importorskip("langgraph_supervisor")
    writer = make(ScriptedChat("A poem."), [], name="writer")
    boss = ScriptedChat(call("transfer_to_adder", {}, "h1"), call("transfer_to_writer", {}, "h2"), "Done.")
    team = supervising.create_supervisor([adder(make, name="adder"), writer], model=boss, output_mode=mode)

    async def drain() -> None:
        async for _ in team.compile(name="team").astream(HELLO, recorded(), subgraphs=True):
            pass

    if way == "invoke":
        team.compile(name="team").invoke(HELLO, recorded())
    else:
        asyncio.run(drain())
    trace = no_open_runs.trace()
    assert trace.tree() == [
        {
            "chain team": [
                {"agent supervisor": [GENERATION, "tool transfer_to_adder"]},
                {"agent adder": [GENERATION, "tool add", GENERATION]},
                {"agent supervisor": [GENERATION, "tool transfer_to_writer"]},
                {"agent writer": [GENERATION]},
                {"agent supervisor": [GENERATION]},
            ]
        }
    ]
    agents = ["supervisor", "adder", "adder", "supervisor", "writer", "supervisor"]
    assert [think.metadata["agent_name"] for think in trace.thinks] == agents
    assert {row.level for row in trace.observations} == {"DEFAULT"}
    assert all("unanswered_tool_calls" not in row.metadata for row in trace.observations)


@pytest.mark.parametrize("options", [{}, {"supervisor_name": "boss"}], ids=["supervisor", "boss"])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_a_supervisors_graph_without_a_name_has_that_of_the_supervisor(
    no_open_runs: RecordedSessions, options: dict[str, Any], way: str
) -> None:
    """A supervisor that hands over names its graph, in the run that resumes an interrupted agent as well."""
    supervising = pytest.importorskip("langgraph_supervisor")

    @tool
    def ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    writer = create_react_agent(
        ScriptedChat(call("ask", {"question": "Which?"}, "c1"), "A poem."), [ask], name="writer"
    )
    boss = ScriptedChat(call("transfer_to_writer", {}, "h1"), "Done.")
    team = supervising.create_supervisor([writer], model=boss, **options).compile(checkpointer=InMemorySaver())
    config = {**recorded(), "configurable": {"thread_id": "t-1"}}
    for value in (HELLO, Command(resume="Hay.")):
        if way == "invoke":
            team.invoke(value, config)
        elif way == "ainvoke":
            asyncio.run(team.ainvoke(value, config))
        else:
            list(team.stream(value, config))
    trace = no_open_runs.trace()
    name = options.get("supervisor_name", "supervisor")
    assert [root.label for root in trace.roots] == [f"chain {name}"] * 2
    assert [think.metadata["agent_name"] for think in trace.thinks] == [name, "writer", "writer", name]
    assert "LangGraph" not in str(trace.tree())


def test_a_graph_without_a_name_has_that_of_the_server_or_the_tool(no_open_runs: RecordedSessions) -> None:
    """LangGraph Server says in the metadata which graph it runs; an agent in a tool is named after the tool."""

    @tool
    def helper(question: str) -> str:
        """Help."""
        return str(create_agent(ScriptedChat("Hay."), []).invoke(HELLO)["messages"][-1].content)

    asks = call("helper", {"question": "Which?"}, "t1")
    agent = create_agent(ScriptedChat(asks, "Done."), [helper])
    agent.invoke(HELLO, {**recorded(), "metadata": {"graph_id": "weather"}})
    trace = no_open_runs.trace()
    inside = {"tool helper": [{"agent helper": [GENERATION]}]}
    assert trace.tree() == [{"agent weather": [GENERATION, inside, GENERATION]}]
    assert [think.metadata["agent_name"] for think in trace.thinks] == ["weather", "helper", "weather"]


@MAKERS
def test_a_swarm_hands_over_and_goes_on(no_open_runs: RecordedSessions, make: Any) -> None:
    """The agents of a swarm are rows by name; the next turn begins with the agent that was active last."""
    swarm = pytest.importorskip("langgraph_swarm")
    to_bob, to_alice = (swarm.create_handoff_tool(agent_name=name) for name in ("bob", "alice"))
    alice = make(ScriptedChat(call("transfer_to_bob", {}, "h1")), [to_bob], name="alice")
    bob = make(ScriptedChat(call("add", {"a": 2, "b": 3}, "c1"), "5"), [add, to_alice], name="bob")
    graph = swarm.create_swarm([alice, bob], default_active_agent="alice").compile(
        checkpointer=InMemorySaver(), name="swarm"
    )
    config = {**recorded(), "configurable": {"thread_id": "t-1"}}
    for _ in range(2):
        graph.invoke(HELLO, config)
    by_bob = {"agent bob": [GENERATION, "tool add", GENERATION]}
    assert [trace.tree() for trace in no_open_runs.traces] == [
        [{"chain swarm": [{"agent alice": [GENERATION, "tool transfer_to_bob"]}, by_bob]}],
        [{"chain swarm": [by_bob]}],
    ]


def test_a_deep_agents_subagents_have_their_names(no_open_runs: RecordedSessions) -> None:
    """A deep agent's subagent stands below the tool that started it, with thinks and acts of its own."""
    deepagents = pytest.importorskip("deepagents")
    model = ScriptedChat(call("task", {"description": "Add.", "subagent_type": "helper"}, "t1"), "Done.")
    helper = {
        "name": "helper",
        "description": "Helps.",
        "system_prompt": "Help.",
        "tools": [add],
        "model": ScriptedChat(call("add", {"a": 2, "b": 3}, "c1"), "5"),
    }
    deepagents.create_deep_agent(model=model, subagents=[helper], name="boss").invoke(HELLO, recorded())
    trace = no_open_runs.trace()
    of_helper = {"agent helper": [GENERATION, "tool add", GENERATION]}
    assert trace.tree() == [{"agent boss": [GENERATION, {"tool task": [of_helper]}, GENERATION]}]
    assert [think.metadata["agent_name"] for think in trace.thinks] == ["boss", "helper", "helper", "boss"]


@MAKERS
def test_a_subagent_without_a_name_has_that_of_the_call(no_open_runs: RecordedSessions, make: Any) -> None:
    """Older deep agents give their subagents no name: the tool call says which one it asks for."""

    @tool
    def task(description: str, subagent_type: str) -> str:
        """Let a subagent work."""
        return str(adder(make).invoke({"messages": [("user", description)]})["messages"][-1].content)

    asks = call("task", {"description": "Add.", "subagent_type": "helper"}, "t1")
    make(ScriptedChat(asks, "Done."), [task], name="boss").invoke(HELLO, recorded())
    trace = no_open_runs.trace()
    of_helper = {"agent helper": [GENERATION, "tool add", GENERATION]}
    assert trace.tree() == [{"agent boss": [GENERATION, {"tool task": [of_helper]}, GENERATION]}]
    assert [think.metadata["agent_name"] for think in trace.thinks] == ["boss", "helper", "helper", "boss"]


def test_an_agent_that_streams_in_a_thread_of_a_node_stands_below_it(no_open_runs: RecordedSessions) -> None:
    """A node that streams an agent in a thread of its own, with its context, has the agent below it, whole."""
    agent = adder(create_agent, name="adder")

    def work(state: MessagesState) -> dict[str, Any]:
        parts: list[Any] = []
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(lambda: parts.extend(agent.stream(state)),))
        thread.start()
        thread.join()
        return {"messages": [("assistant", str(len(parts)))]}

    graph = StateGraph(MessagesState).add_node("work", work).add_edge(START, "work").compile(name="outer")
    graph.invoke(HELLO, recorded())
    of_adder = {"agent adder": [GENERATION, "tool add", GENERATION]}
    assert no_open_runs.trace().tree() == [{"chain outer": [{"chain work": [of_adder]}]}]

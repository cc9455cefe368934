"""Agents that run at the same time in tools, nodes, branches, tasks and subgraphs: each has its own rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from langchain_runs import HELLO, recorded, search
from langfuse_integration.testing import RecordedSessions, Trace
from scripted_chat import Hold, ScriptedChat, call, calls

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]

ALPHA = {"agent alpha": ["generation ScriptedChat"]}
BETA = {"agent beta": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}


def alpha() -> Any:
    """Return an agent that only answers."""
    return create_agent(ScriptedChat("Alpha."), [], name="alpha")


def beta() -> Any:
    """Return an agent that searches before it answers."""
    return create_agent(ScriptedChat(call("search", {"query": "hay"}), "Beta."), [search], name="beta")


def boss(act: Any) -> Any:
    """Return an agent that calls the tool *act* once."""
    return create_agent(ScriptedChat(call(act.name, {"topic": "hay"}), "Done."), [act], name="boss")


def graph(name: str, node: str, action: Any) -> Any:
    """Return a graph with one node."""
    return StateGraph(MessagesState).add_node(node, action).add_edge(START, node).compile(name=name)


def check(trace: Trace, tree: Any) -> None:
    """Check the tree, that each step is its own agent's, and that each act names a think of its own agent."""
    assert normal(trace.tree()) == normal([tree])
    for row in trace.observations:
        if row.is_think or row.is_act:
            agent = next(above for above in lineage(trace, row) if above.type == "agent")
            assert row.metadata["agent_name"] == agent.name
        if row.is_act:
            think = next(other for other in trace.observations if other.id == row.metadata["think_id"])
            assert think.parent_id == row.parent_id
        assert (row.session_id, row.level) == ("s-alice", "DEFAULT")


def lineage(trace: Trace, row: Any) -> Any:
    """Yield the rows above a row, the nearest first."""
    rows = {other.id: other for other in trace.observations}
    while row.parent_id in rows:
        row = rows[row.parent_id]
        yield row


def normal(tree: Any) -> Any:
    """Return a tree whose branches have an order, whichever began first."""
    if isinstance(tree, dict):
        return {name: normal(below) for name, below in tree.items()}
    return sorted(map(normal, tree), key=str) if isinstance(tree, list) else tree


def test_in_a_tool_of_an_agent_in_a_subgraph(no_open_runs: RecordedSessions) -> None:
    """Both stand below the tool, and each act below its own agent."""

    @tool
    async def both(topic: str) -> str:
        """Ask both."""
        await asyncio.gather(alpha().ainvoke(HELLO), beta().ainvoke(HELLO))
        return "both"

    company = graph("company", "department", graph("team", "lead", boss(both)))
    asyncio.run(company.ainvoke(HELLO, recorded()))
    act = {"tool both": [ALPHA, BETA]}
    agent = {"agent boss": ["generation ScriptedChat", act, "generation ScriptedChat"]}
    check(no_open_runs.trace(), {"chain company": [{"chain team": [agent]}]})


def test_one_of_two_in_a_tool_is_cancelled(no_open_runs: RecordedSessions) -> None:
    """The cancelled agent's rows say so; the other one's, the tool and the agent above are as ever."""
    hold = Hold()
    slow = create_agent(ScriptedChat("never", hold=hold), [], name="slow")

    @tool
    async def race(topic: str) -> str:
        """Take the first answer."""
        loser = asyncio.create_task(slow.ainvoke(HELLO))
        await asyncio.gather(beta().ainvoke(HELLO), hold.until_reached())
        loser.cancel()
        await asyncio.gather(loser, return_exceptions=True)
        return "first"

    asyncio.run(boss(race).ainvoke(HELLO, recorded()))
    trace = no_open_runs.trace()
    act = {"tool race": [BETA, {"agent slow": ["generation ScriptedChat"]}]}
    assert normal(trace.tree()) == normal([{"agent boss": ["generation ScriptedChat", act, "generation ScriptedChat"]}])
    cancelled = [row for row in trace.observations if row.status_message == "cancelled"]
    assert [row.name for row in cancelled] == ["slow", "ScriptedChat"]
    assert {row.level for row in trace.observations} == {"DEFAULT"}


@pytest.mark.parametrize("how", ["called by the node", "is the node"])
def test_branches_of_a_parallel_runnable_share_a_state(no_open_runs: RecordedSessions, how: str) -> None:
    """Both get the state of the node, and both have their row below it."""
    branches = RunnableParallel(one=alpha(), two=beta())
    if how == "is the node":
        node: Any = branches | RunnableLambda(lambda answers: {"messages": answers["one"]["messages"]})
    else:

        def node(state: MessagesState) -> Any:
            return {"messages": branches.invoke(state)["two"]["messages"]}

    graph("herd", "ask", node).invoke(HELLO, recorded())
    check(no_open_runs.trace(), {"chain herd": [{"chain ask": [ALPHA, BETA]}]})


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_named_agents_that_are_sent_work(no_open_runs: RecordedSessions, way: str) -> None:
    """One agent gets two pieces of work, another one gets one: three rows, whichever ends first."""
    herd: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    herd.add_node("plan", lambda state: {}).add_node("alpha", alpha()).add_node("beta", beta())
    herd.add_edge(START, "plan")
    herd.add_conditional_edges("plan", lambda state: [Send(name, state) for name in ("alpha", "beta", "alpha")])
    compiled = herd.compile(name="herd")
    asyncio.run(compiled.ainvoke(HELLO, recorded())) if way == "ainvoke" else compiled.invoke(HELLO, recorded())
    check(no_open_runs.trace(), {"chain herd": ["chain plan", ALPHA, BETA, ALPHA]})


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_tasks_of_the_functional_api(no_open_runs: RecordedSessions, way: str) -> None:
    """Sync tasks run in threads, async ones in the loop: each agent stands below its task."""
    if way == "threads":

        @task
        def ask(name: str) -> str:
            return str((alpha() if name == "alpha" else beta()).invoke(HELLO)["messages"][-1].content)

        @entrypoint()
        def herd(names: list[str]) -> list[str]:
            asked = [ask(name) for name in names]
            return [one.result() for one in asked]

        assert herd.invoke(["alpha", "beta", "alpha"], recorded()) == ["Alpha.", "Beta.", "Alpha."]
    else:

        @task
        async def ask(name: str) -> str:
            return str((await (alpha() if name == "alpha" else beta()).ainvoke(HELLO))["messages"][-1].content)

        @entrypoint()
        async def herd(names: list[str]) -> list[str]:
            return list(await asyncio.gather(*map(ask, names)))

        asyncio.run(herd.ainvoke(["alpha", "beta", "alpha"], recorded()))
    check(no_open_runs.trace(), {"chain herd": [{"chain ask": [one]} for one in (ALPHA, BETA, ALPHA)]})


def test_sub_agents_of_deepagents(no_open_runs: RecordedSessions) -> None:
    """Three tasks at once, two of them for one agent: each stands below its act, by the agent's name."""
    deepagents = pytest.importorskip("deepagents")
    subagents = [
        {"name": name, "description": name, "system_prompt": name, "model": ScriptedChat(f"{name} says.")}
        for name in ("reader", "writer")
    ]
    asked = calls(
        *(
            ("task", {"description": "go", "subagent_type": name}, f"c{number}")
            for number, name in enumerate(["reader", "writer", "reader"])
        )
    )
    agent = deepagents.create_deep_agent(model=ScriptedChat(asked, "Done."), subagents=subagents, name="deep")
    asyncio.run(agent.ainvoke(HELLO, recorded()))
    acts = [{"tool task": [{f"agent {name}": ["generation ScriptedChat"]}]} for name in ("reader", "writer", "reader")]
    check(no_open_runs.trace(), {"agent deep": ["generation ScriptedChat", *acts, "generation ScriptedChat"]})


def test_agents_that_ask_and_are_answered_one_by_one(no_open_runs: RecordedSessions) -> None:
    """Two agents ask at once; each answer resumes its own agent, and the other one asks again."""

    @tool
    def ask(question: str) -> str:
        """Ask the user."""
        return str(interrupt(question))

    herd: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    for name in ("alpha", "beta"):
        model = ScriptedChat(call("ask", {"question": name}), f"{name} is done.")
        herd.add_node(name, create_agent(model, [ask], name=name)).add_edge(START, name)
    compiled = herd.compile(checkpointer=InMemorySaver(), name="herd")
    config = recorded(configurable={"thread_id": "t-1"})
    first, second = compiled.invoke(HELLO, config)["__interrupt__"]
    for asked in (first, second):
        compiled.invoke(Command(resume={asked.id: "yes"}), config)
    trace = no_open_runs.trace()
    thinks, asks = ["generation ScriptedChat", "tool ask"], ["tool ask", "generation ScriptedChat"]
    last = str(second.value)
    assert [normal(root) for root in trace.tree()] == [
        normal(root)
        for root in (
            {"chain herd": [{"agent alpha": thinks}, {"agent beta": thinks}]},
            {"chain herd": [{f"agent {first.value}": asks}, {f"agent {last}": ["tool ask"]}]},
            {"chain herd": [{f"agent {last}": asks}]},
        )
    ]
    linked = Counter(act.metadata["think_id"] for act in trace.named("ask"))
    assert sorted(linked.values()) == [2, 3]
    assert {row.level for row in trace.observations} == {"DEFAULT"}

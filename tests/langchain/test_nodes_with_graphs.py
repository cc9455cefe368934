"""Graphs and agents that nodes call: each has its row, and a node that only passes on has none."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import run_in_executor
from langgraph.graph import START, MessagesState, StateGraph

from langchain_runs import HELLO, WAYS, every_way, recorded, search
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from scripted_chat import Hold, ScriptedChat, call

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]


def agent(name: str | None, answer: str) -> Any:
    """Return an agent that searches once and answers."""
    return create_agent(ScriptedChat(call("search", {"query": answer}), answer), [search], name=name)


def graph(name: str | None, **nodes: Any) -> Any:
    """Return a compiled graph with *nodes* in their order."""
    made: StateGraph[Any, Any, Any] = StateGraph(MessagesState)
    above = START
    for node, action in nodes.items():
        made.add_node(node, action)
        made.add_edge(above, node)
        above = node
    return made.compile(name=name) if name else made.compile()


def talk(state: MessagesState) -> Any:
    """A node's function that asks a model."""
    return {"messages": [ScriptedChat("A word.").invoke(state["messages"])]}


def steps_of(agent_name: str) -> dict[str, list[str]]:
    return {f"agent {agent_name}": ["generation ScriptedChat", "tool search", "generation ScriptedChat"]}


HANDED: dict[str, Callable[[Any], Any]] = {
    "the state": lambda state: state,
    "a copy": dict,
    "a deep copy": copy.deepcopy,
}


@every_way
@pytest.mark.parametrize("handed", HANDED)
def test_each_agent_that_a_node_calls_has_its_row(sessions: RecordedSessions, way: str, handed: str) -> None:
    """Three agents get the node's state: each has its name, thinks, acts and output, and the node has its row."""
    agents = [agent(name, f"{name} done") for name in ("billing", "shipping", "care")]

    def experts(state: MessagesState) -> Any:
        answers = [each.invoke(HANDED[handed](state))["messages"][-1] for each in agents]
        return {"messages": answers}

    WAYS[way](graph("team", experts=experts), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [
        {"chain team": [{"chain experts": [steps_of("billing"), steps_of("shipping"), steps_of("care")]}]}
    ]
    for name in ("billing", "shipping", "care"):
        row = trace.one(name)
        assert row.output["messages"][-1]["content"] == f"{name} done"
        assert [think.metadata["agent_name"] for think in row.children if think.is_think] == [name, name]
        assert [think.metadata["step_index"] for think in row.children if think.is_think] == [1, 2]
    node = trace.one("experts")
    assert [message["content"] for message in node.output["messages"]] == ["billing done", "shipping done", "care done"]


@pytest.mark.parametrize("how", ["gathered", "threads"])
def test_agents_side_by_side_in_one_node_have_a_row_each(sessions: RecordedSessions, how: str) -> None:
    """Two agents run at the same time on the node's state, in tasks or in threads."""
    one, two = agent("billing", "bill"), agent("shipping", "ship")

    async def gathered(state: MessagesState) -> Any:
        answers = await asyncio.gather(one.ainvoke(state), two.ainvoke(state))
        return {"messages": [answer["messages"][-1] for answer in answers]}

    async def threads(state: MessagesState) -> Any:
        answers = await asyncio.gather(*(run_in_executor(None, each.invoke, state) for each in (one, two)))
        return {"messages": [answer["messages"][-1] for answer in answers]}

    asyncio.run(graph("team", experts=gathered if how == "gathered" else threads).ainvoke(HELLO, recorded()))
    (root,) = sessions.trace().roots
    (node,) = root.children
    assert (root.label, node.label) == ("chain team", "chain experts")
    assert sorted(map(str, (child.tree() for child in node.children))) == sorted(
        map(str, (steps_of("billing"), steps_of("shipping")))
    )


@every_way
def test_a_node_that_only_passes_on_has_no_row(sessions: RecordedSessions, way: str) -> None:
    """The agent itself as a node, or a function that returns what the agent returns: the agent's row stands alone."""
    billing = agent("billing", "bill")
    WAYS[way](graph("team", direct=billing, function=lambda state: billing.invoke(state)), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [{"chain team": [steps_of("billing"), steps_of("billing")]}]
    first, second = trace.named("billing")
    assert (first.metadata["langgraph_node"], second.metadata["langgraph_node"]) == ("direct", "function")
    assert len(first.input["messages"]) == 1


@every_way
def test_a_graph_without_a_name_has_its_nodes_name(sessions: RecordedSessions, way: str) -> None:
    """As the node, and called by a node that does more: no row is called LangGraph but the root that has no name."""
    inner, helper = graph(None, draft=talk), agent(None, "help")

    def work(state: MessagesState) -> Any:
        helper.invoke(state)
        return {"messages": ["more"]}

    WAYS[way](graph(None, first=inner, second=helper, third=work), HELLO)
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "chain LangGraph": [
                {"chain first": [{"chain draft": ["generation ScriptedChat"]}]},
                steps_of("second"),
                {"chain third": [steps_of("third")]},
            ]
        }
    ]
    assert {think.metadata["agent_name"] for think in trace.thinks} == {"second", "third"}


@every_way
def test_a_node_that_does_more_has_a_row_around_the_graph(sessions: RecordedSessions, way: str) -> None:
    """Another output, a row before or a row after: the node stays, and the named graph stands below it."""
    inner = graph("summarise", draft=talk)

    def output(state: MessagesState) -> Any:
        inner.invoke(state)
        return {"messages": ["post-processed"]}

    def before(state: MessagesState) -> Any:
        with langfuse_manager.trace_span("look up"):
            pass
        return inner.invoke(state)

    def after(state: MessagesState) -> Any:
        answer = inner.invoke(state)
        with langfuse_manager.trace_span("check"):
            pass
        return answer

    WAYS[way](graph("outer", output=output, before=before, after=after), HELLO)
    summary = {"chain summarise": [{"chain draft": ["generation ScriptedChat"]}]}
    assert sessions.trace().tree() == [
        {
            "chain outer": [
                {"chain output": [summary]},
                {"chain before": ["span look up", summary]},
                {"chain after": [summary, "span check"]},
            ]
        }
    ]


@every_way
def test_graphs_in_graphs_in_graphs_have_a_row_each(sessions: RecordedSessions, way: str) -> None:
    """Two levels of passing on, then a node that calls two graphs of the same name as itself."""
    inner = graph("inner", draft=talk)

    def twice(state: MessagesState) -> Any:
        inner.invoke(state)
        return inner.invoke(state)

    WAYS[way](graph("outer", one=graph("middle", two=inner), inner=twice), HELLO)
    summary = {"chain inner": [{"chain draft": ["generation ScriptedChat"]}]}
    assert sessions.trace().tree() == [
        {"chain outer": [{"chain middle": [summary]}, {"chain inner": [summary, summary]}]},
    ]


@every_way
def test_a_failing_agent_in_a_node_is_shown_once(sessions: RecordedSessions, way: str) -> None:
    """The node raises what the agent raised: it passes on. A node that catches the error is a row without one."""
    broken = create_agent(ScriptedChat(ValueError("overloaded")), [], name="broken")

    def careful(state: MessagesState) -> Any:
        try:
            return broken.invoke(state)
        except ValueError:
            return {"messages": ["sorry"]}

    with pytest.raises(ValueError, match="overloaded"):
        WAYS[way](graph("team", careful=careful, direct=broken), HELLO)
    trace = sessions.trace()
    failed = {"agent broken": ["generation ScriptedChat"]}
    assert trace.tree() == [{"chain team": [{"chain careful": [failed]}, failed]}]
    assert [(row.name, row.level) for row in trace.observations if row.type != "generation"] == [
        ("team", "ERROR"),
        ("careful", "DEFAULT"),
        ("broken", "ERROR"),
        ("broken", "ERROR"),
    ]


def test_an_agent_cancelled_in_a_node_is_cancelled_once(sessions: RecordedSessions) -> None:
    """The task is cancelled while the agent's model answers: one row for node and agent, and nothing stays open."""
    hold = Hold()
    waiting = create_agent(ScriptedChat("Late.", hold=hold), [], name="waiting")

    async def main() -> None:
        running = asyncio.ensure_future(graph("team", node=waiting).ainvoke(HELLO, recorded()))
        await hold.until_reached()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    trace = sessions.trace()
    assert trace.tree() == [{"chain team": [{"agent waiting": ["generation ScriptedChat"]}]}]
    assert {(row.level, row.status_message) for row in trace.observations} == {("DEFAULT", "cancelled")}


def test_an_agent_as_a_step_of_a_node_has_its_row(sessions: RecordedSessions) -> None:
    """A node that is a sequence: its function and its agent stand below it, however the state reaches them."""

    def clean(state: MessagesState) -> MessagesState:
        return state

    graph("team", steps=RunnableLambda(clean) | agent("billing", "bill") | agent(None, "more")).invoke(
        HELLO, recorded()
    )
    assert sessions.trace().tree() == [
        {"chain team": [{"chain steps": ["chain clean", steps_of("billing"), steps_of("steps")]}]}
    ]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_a_named_sequence_in_a_node_has_its_row(sessions: RecordedSessions, way: str) -> None:
    """A sequence with a name is a row like a graph; one without a name is plumbing."""
    named = (RunnableLambda(talk) | RunnableLambda(lambda state: state)).with_config(run_name="pipeline")
    unnamed = RunnableLambda(talk) | RunnableLambda(lambda state: state)

    def both(state: MessagesState) -> Any:
        unnamed.invoke(state)
        return named.invoke(state)

    WAYS[way](graph("team", node=named, both=both), HELLO)
    talking = {"chain talk": ["generation ScriptedChat"]}
    assert sessions.trace().tree() == [
        {"chain team": [{"chain pipeline": [talking]}, {"chain both": [talking, {"chain pipeline": [talking]}]}]}
    ]


def test_many_threads_in_one_node_lose_no_agent(sessions: RecordedSessions) -> None:
    """Eight agents start at once in threads of one node: eight rows below the node, each with its own think."""
    ready = threading.Barrier(8)
    agents = [create_agent(ScriptedChat(f"{number}"), [], name=f"agent-{number}") for number in range(8)]

    def crowd(state: MessagesState, config: Any) -> Any:
        def ask(each: Any) -> Any:
            ready.wait(60)
            return each.invoke(state, {"callbacks": config["callbacks"]})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, agents))
        return {"messages": []}

    from langchain_core.runnables import RunnableConfig

    crowd.__annotations__["config"] = RunnableConfig
    graph("team", crowd=crowd).invoke(HELLO, recorded())
    (node,) = sessions.trace().roots[0].children
    assert sorted(map(str, (child.tree() for child in node.children))) == sorted(
        str({f"agent agent-{number}": ["generation ScriptedChat"]}) for number in range(8)
    )

"""Langfuse's own client inside of tools and nodes: it finds the observation around it, with nothing attached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langfuse import get_client, observe, propagate_attributes
from opentelemetry import context as context_api
from opentelemetry import trace as trace_api

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from peers.otlp import Receiver

pytestmark = pytest.mark.langchain


def use_the_client(name: str) -> None:
    client = get_client()
    row = langfuse_manager.current_observation
    assert row is not None
    assert client.get_current_trace_id() == row.trace_id
    assert client.get_current_observation_id() == row.id
    client.update_current_span(metadata={"by": name})
    client.score_current_span(name="quality", value=1)
    with client.start_as_current_observation(name=f"client in {name}"):
        assert client.get_current_observation_id() != row.id
    assert client.get_current_observation_id() == row.id


@tool
def search(query: str) -> str:
    """Search."""
    use_the_client("search")
    return query


@tool
async def search_later(query: str) -> str:
    """Search."""
    await asyncio.sleep(0)
    use_the_client("search_later")
    return query


def test_the_client_works_inside_of_tools(langfuse: Receiver) -> None:
    """Ids, updates, scores and spans belong to the tool's row, in sync tools, async ones, and three at once."""

    async def main() -> None:
        config: Any = {"callbacks": [SessionHandler()]}
        with langfuse_manager.session("s-1"):
            await asyncio.gather(*(search_later.ainvoke({"query": "hay"}, config) for _ in range(3)))
            search.invoke({"query": "hay"}, config)

    asyncio.run(main())
    get_client().flush()
    assert langfuse_manager.flush(10) == (8, 0, 0)
    assert sorted(langfuse.trees()) == sorted(
        [("search", ("client in search",)), *[("search_later", ("client in search_later",))] * 3]
    )
    tools = {span.span_id: span for span in langfuse.spans if span.name.startswith("search")}
    assert {span.attributes["langfuse.observation.metadata.by"].strip(chr(34)) for span in tools.values()} == {
        "search",
        "search_later",
    }
    assert {span.attributes["langfuse.observation.type"] for span in tools.values()} == {"tool"}
    langfuse.wait_until(lambda: len(langfuse.scores) == 4)
    assert {score["observationId"] for score in langfuse.scores} == set(tools)


def test_nothing_is_attached(langfuse: Receiver) -> None:
    """What is attached or copied inside of a node holds only what was attached: no span is left behind."""
    seen: list[Any] = []

    def node(value: str) -> str:
        attached = context_api.attach(context_api.set_value("theirs", 1))
        with propagate_attributes(tags=["a"]):
            seen.append(trace_api.get_current_span())
        context_api.detach(attached)
        seen.append(context_api.get_current())
        return value

    RunnableLambda(node).invoke("x", {"callbacks": [SessionHandler()]})
    span, context = seen
    assert span.name == "node"
    assert dict(context) == {}
    assert trace_api.get_current_span() is trace_api.INVALID_SPAN


def test_a_context_that_is_handed_to_a_thread_keeps_its_span(langfuse: Receiver) -> None:
    """As instrumentations of threads do it: what was current where the context was read is the parent."""

    @observe()
    def below() -> None:
        pass

    def in_a_thread(context: Any) -> None:
        token = context_api.attach(context)
        below()
        context_api.detach(token)

    async def node(value: str) -> str:
        await asyncio.get_running_loop().run_in_executor(None, in_a_thread, context_api.get_current())
        return value

    asyncio.run(RunnableLambda(node).ainvoke("x", {"callbacks": [SessionHandler()]}))
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert langfuse.trees() == [("node", ("below",))]


def test_a_run_below_a_span_with_a_trace_context_joins_that_trace(langfuse: Receiver) -> None:
    """The trace id and the parent that the application chose hold for the client's span and the run below it."""
    trace_id = get_client().create_trace_id(seed="order-4711")
    chosen: Any = {"trace_id": trace_id, "parent_span_id": "00000000000000aa"}
    with (
        langfuse_manager.session("s-1"),
        get_client().start_as_current_observation(name="turn", trace_context=chosen) as turn,
    ):
        RunnableLambda(lambda value: value, name="node").invoke("x", {"callbacks": [SessionHandler()]})
    assert langfuse_manager.flush(10) == (2, 0, 0)
    spans = {span.name: span for span in langfuse.spans}
    assert {span.trace_id for span in spans.values()} == {trace_id}
    assert (spans["turn"].parent_id, spans["node"].parent_id) == ("00000000000000aa", turn.id)
    assert {span.attributes["session.id"] for span in spans.values()} == {"s-1"}

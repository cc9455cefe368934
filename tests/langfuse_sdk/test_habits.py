"""Habits of docs/migrating.md with Langfuse's own SDK, in each order of set-up: whole trees, the right session, once.

A process has all habits, each in a session of its own; in an outage, and where the process is killed, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from fresh import run_fresh
from peers.misbehaviour import status
from peers.otlp import Receiver, Span, tree

pytestmark = pytest.mark.langchain

SDK = """
from langfuse import Langfuse, get_client, observe, propagate_attributes
"""
OURS = """
from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
handler = SessionHandler()
"""
OWN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
own, other = TracerProvider(), InMemorySpanExporter()
own.add_span_processor(SimpleSpanProcessor(other))
trace.set_tracer_provider(own)
"""
OUTERMOST = """
@observe(name="first")
def first():
    pass
first()
"""
ORDERS = {
    "client first": SDK + "get_client()\n" + OURS,
    "ours first": OURS + SDK + "Langfuse()\n",
    "@observe first": SDK + OUTERMOST + OURS,
    "own provider before": OWN + SDK + "get_client()\n" + OURS,
    "own provider after": OURS + SDK + OWN + "get_client()\n",
}
HABITS = """
import asyncio, json, os, signal
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langfuse.langchain import CallbackHandler

config = {"callbacks": [handler]}
client = get_client()
ids = {}

def model(name="model"):
    return FakeListChatModel(responses=["Hay."]).with_config(run_name=name)

# propagate_attributes around a run, sync and async
everything = {"user_id": "ada", "tags": ["beta"], "metadata": {"tenant": "acme"}, "trace_name": "checkout"}
with propagate_attributes(session_id="propagated", **everything):
    model().invoke("?", config)
    asyncio.run(model("later").ainvoke("?", config))

# a run's own config
named = {"langfuse_session_id": "configured", "langfuse_user_id": "ada", "langfuse_tags": ["beta"]}
model().invoke("?", {**config, "metadata": named})

# @observe around, between and inside of runs; the client's spans in it
@observe(name="helper")
def helper(value):
    with get_client().start_as_current_observation(name="client span"):
        return value

@observe(name="request")
def request():
    RunnableLambda(helper, name="chain").invoke("?", config)
    helper("?")
    model().invoke("?", config)

with langfuse_manager.session("observed", user_id="ada"):
    request()

# the client inside of a tool, and scores
@tool
def search(query: str) -> str:
    "Search."
    ids["in the tool"] = [get_client().get_current_trace_id(), get_client().get_current_observation_id()]
    get_client().update_current_span(metadata={"by": "the client"})
    get_client().score_current_span(name="in a tool", value=1.0)
    get_client().score_current_trace(name="of the trace", value=0.5)
    return query

with langfuse_manager.session("inside", user_id="ada"):
    search.invoke({"query": "hay"}, config)
get_client().create_score(trace_id=ids["in the tool"][0], name="created", value=0.0)

# propagate_attributes in a node
def work(value):
    with propagate_attributes(session_id="nested", user_id="bob"):
        model("inner").invoke("?")
    return value

node = RunnableLambda(work, name="node")
with propagate_attributes(session_id="around", user_id="ada"):
    RunnableLambda(lambda value: [model("before").invoke("?"), node.invoke(value)], name="outer").invoke("?", config)

# a trace id of one's own
ids["chosen"] = Langfuse.create_trace_id(seed="order-4711")
with langfuse_manager.session("chosen", user_id="ada"):
    with client.start_as_current_observation(name="turn", trace_context={"trace_id": ids["chosen"]}):
        model().invoke("?", config)

# the trace id of a run
with langfuse_manager.session("turn", user_id="ada"), langfuse_manager.trace_span("turn") as turn:
    model().invoke("?", config)
    ids["turn"] = turn.trace_id

# Langfuse's handler beside ours
with langfuse_manager.session("both", user_id="ada"):
    RunnableLambda(lambda _: model().invoke("?"), name="chain").invoke("?", {"callbacks": [CallbackHandler(), handler]})

client.flush()
"""
TREES: list[Any] = [
    ("propagated: model",),
    ("propagated: later",),
    ("configured: model",),
    (
        "observed: request",
        ("observed: chain", ("observed: helper", ("observed: client span",))),
        ("observed: helper", ("observed: client span",)),
        ("observed: model",),
    ),
    ("inside: search",),
    # the SDK writes what is propagated on the row around the block, too
    ("around: outer", ("around: before",), ("nested: node", ("nested: inner",))),
    ("chosen: turn", ("chosen: model",)),
    ("turn: turn", ("turn: model",)),
    ("both: chain", ("both: model",)),
]
SCORES = {"in a tool", "of the trace", "created"}
ROWS = 21
END = """
print(langfuse_manager.flush(TIMEOUT))
print(json.dumps(ids))
"""
KILL = """
import sys
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
NEXT = """
from langfuse_integration import langfuse_manager
with langfuse_manager.session("next", user_id="ada"), langfuse_manager.trace_span("next"):
    pass
langfuse_manager.flush(30)
"""


def environment(receiver: Receiver, order: str) -> dict[str, str]:
    """Return the variables of a process; what a client records before this package is there stays in its queue."""
    waits = {"LANGFUSE_FLUSH_INTERVAL": "600"} if order.startswith("@observe") else {}
    return {**receiver.environment(), **waits}


def labelled(span: Span) -> str:
    """Return a row's session and name."""
    return f"{span.attributes.get('session.id')}: {span.name}"


def assert_all(receiver: Receiver, ids: dict[str, Any], extra: int, *, later: bool = False) -> None:
    """Assert that every habit left its tree in its session, once, with what it says of the trace."""
    receiver.wait_for(ROWS + extra + later, 30)
    receiver.wait_until(lambda: len(receiver.scores) >= len(SCORES), 30)
    assert tree(receiver.spans, labelled) == [("None: first",)] * extra + TREES + [("next: next",)] * later
    assert receiver.doubled() == {}
    by_session: defaultdict[str, list[Span]] = defaultdict(list)
    for span in receiver.spans:
        by_session[span.attributes.get("session.id")].append(span)
        user = span.attributes.get("user.id")
        assert user == {"nested": "bob", None: None}.get(span.attributes.get("session.id"), "ada")
    for span in by_session["propagated"]:
        assert span.attributes["langfuse.trace.tags"] == ["beta"]
        assert span.attributes["langfuse.trace.name"] == "checkout"
        assert span.attributes["langfuse.trace.metadata.tenant"] == "acme"
    assert by_session["configured"][0].attributes["langfuse.trace.tags"] == ["beta"]
    assert {span.trace_id for span in by_session["chosen"]} == {ids["chosen"]}
    assert {span.trace_id for span in by_session["turn"]} == {ids["turn"]}
    [search] = by_session["inside"]
    assert [search.trace_id, search.span_id] == ids["in the tool"]
    assert "the client" in search.attributes["langfuse.observation.metadata.by"]
    assert {(score["name"], score["traceId"]) for score in receiver.scores} == {
        (name, search.trace_id) for name in SCORES
    }


def ids_of(printed: str) -> dict[str, Any]:
    """Return the ids that a process printed."""
    found: dict[str, Any] = json.loads(next(line for line in printed.splitlines() if line.startswith("{")))
    return found


@pytest.mark.application
@pytest.mark.parametrize("order", ORDERS)
def test_every_habit_in_one_process(order: str, receiver: Receiver) -> None:
    """All rows and scores are delivered at the flush, and counted."""
    extra = order.startswith("@observe")
    printed = run_fresh(ORDERS[order] + HABITS + END.replace("TIMEOUT", "30"), environment(receiver, order))
    assert f"FlushResult(delivered={ROWS + extra}, pending=0, lost=0)" in printed
    assert_all(receiver, ids_of(printed), extra)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "exit"])
@pytest.mark.parametrize("order", ORDERS)
def test_every_habit_in_an_outage(order: str, end: str, receiver: Receiver) -> None:
    """With Langfuse down until after the process, killed or not, the next process delivers everything once."""
    receiver.always(status(503))
    extra = order.startswith("@observe")
    ended = KILL if end == "kill" else ""
    printed = run_fresh(
        ORDERS[order] + HABITS + END.replace("TIMEOUT", "5") + ended,
        environment(receiver, order),
        returncode=-9 if ended else 0,
    )
    assert "delivered=0" in printed
    assert receiver.spans == []
    receiver.always(None)
    run_fresh(NEXT, {**receiver.environment(), "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "30"})
    assert_all(receiver, ids_of(printed), extra, later=True)

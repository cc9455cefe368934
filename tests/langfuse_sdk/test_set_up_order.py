"""Langfuse's SDK beside us, set up before or after: one tree, through our journal, each row once."""

from __future__ import annotations

import pytest

from fresh import run_warm
from peers.misbehaviour import status
from peers.otlp import Receiver, Span

BODY = """
    import asyncio
    from langchain_core.runnables import RunnableLambda

    @observe()
    def helper(x):
        with get_client().start_as_current_observation(name="client span"):
            return x

    @observe()
    async def later_helper(x):
        await asyncio.sleep(0)
        return x

    chain = RunnableLambda(helper, afunc=later_helper, name="node") | RunnableLambda(lambda x: x, name="last")

    @observe()
    def request(x):
        return chain.invoke(x, {"callbacks": [handler], "run_name": "sync"})

    with langfuse_manager.session("s-1", user_id="u-1"):
        request("x")
        asyncio.run(chain.ainvoke("x", {"callbacks": [handler], "run_name": "async"}))
    print(langfuse_manager.flush(20))
"""
STEPS = {
    "imports": """
    from langfuse_integration import langfuse_manager
    from langfuse_integration_langchain import SessionHandler
    """,
    "sdk": """
    from langfuse import Langfuse, get_client, observe
    """,
    "handler": """
    handler = SessionHandler()
    """,
    "get_client": """
    client = get_client()
    """,
    "Langfuse": """
    client = Langfuse()
    """,
    "span": """
    with langfuse_manager.trace_span("first"):
        pass
    """,
    "observe": """
    @observe()
    def first():
        pass
    first()
    """,
    "provider": """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    own = TracerProvider()
    exporter = InMemorySpanExporter()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(own)
    assert trace.get_tracer_provider() is own
    """,
    "own span": """
    with trace.get_tracer("app").start_as_current_span("own"):
        pass
    assert "own" in [span.name for span in exporter.get_finished_spans()]
    """,
}
TREE = [
    ("async", None),
    ("client span", "helper"),
    ("helper", "node"),
    ("last", "async"),
    ("last", "sync"),
    ("later_helper", "node"),
    ("node", "async"),
    ("node", "sync"),
    ("request", None),
    ("sync", "request"),
]
FEW = [
    "sdk get_client imports handler",
    "imports handler sdk Langfuse",
    "provider sdk get_client imports handler own-span",
    "imports handler sdk provider own-span get_client",
]
MORE = [
    "sdk Langfuse observe imports handler",
    "sdk imports handler",
    "imports span sdk get_client handler",
    "imports handler span sdk get_client provider own-span",
    "imports sdk observe handler",
    "provider imports handler sdk observe own-span",
]


def script(order: str) -> str:
    return "".join(STEPS[step.replace("own-span", "own span")] for step in order.split()) + BODY


def tree(spans: list[Span]) -> list[tuple[str, str | None]]:
    names = {span.span_id: span.name for span in spans}
    return sorted(
        ((span.name, names.get(span.parent_id or "")) for span in spans if span.name != "first"),
        key=lambda entry: (entry[0], entry[1] or ""),
    )


def assert_one_tree(receiver: Receiver, printed: str, order: str) -> None:
    extra = sum(step in ("span", "observe") for step in order.split())
    spans = receiver.wait_for(len(TREE) + extra)
    assert printed.strip() == f"FlushResult(delivered={len(TREE) + extra}, pending=0, lost=0)"
    assert tree(spans) == TREE
    assert receiver.doubled() == {}
    mine = [span for span in spans if span.name != "first"]
    assert {(span.attributes.get("session.id"), span.attributes.get("user.id")) for span in mine} == {("s-1", "u-1")}
    roots = [s.name for s in mine if not s.parent_id or s.attributes.get("langfuse.internal.is_app_root")]
    assert sorted(roots) == ["async", "request"]


@pytest.mark.langchain
@pytest.mark.parametrize("order", FEW)
def test_the_order_of_set_up_does_not_matter(order: str, receiver: Receiver) -> None:
    """Client, provider and handler in any order: @observe, the client's spans and runs are one tree, each row once."""
    printed = run_warm(script(order), receiver.environment())
    assert_one_tree(receiver, printed, order)


@pytest.mark.langchain
@pytest.mark.slow
@pytest.mark.parametrize("order", MORE)
def test_further_orders_of_set_up(order: str, receiver: Receiver) -> None:
    """Every order gives one tree, also where something was recorded before the client or the handler was there.

    What a client records before this package is there stays in its queue, however long the imports take.
    """
    printed = run_warm(script(order), {**receiver.environment(), "LANGFUSE_FLUSH_INTERVAL": "600"})
    assert_one_tree(receiver, printed, order)


OUTAGE = """
    import os
    from langfuse import Langfuse, observe
    from langfuse_integration import langfuse_manager

    Langfuse()

    @observe()
    def work():
        pass

    work()
    with langfuse_manager.session("s-1", user_id="u-1"), langfuse_manager.trace_span("ours"):
        work()
    print(langfuse_manager.flush(0.5), flush=True)
"""
NEXT = """
    from langfuse_integration import langfuse_manager
    langfuse_manager.set_session("s-2")
    with langfuse_manager.trace_span("next"):
        pass
    langfuse_manager.flush(20)
"""


@pytest.mark.parametrize("end", ["", "    os._exit(0)\n"], ids=["exit", "kill"])
def test_an_outage_loses_nothing_where_a_client_was_first(end: str, receiver: Receiver) -> None:
    """What a client made before us had queued, its later spans and our rows wait in the journal."""
    keys = receiver.environment()
    receiver.always(status(503))
    printed = run_warm(OUTAGE + end, keys)
    receiver.always(None)
    assert printed.startswith("FlushResult(delivered=0, pending=3, lost=0)")
    assert "failed while" not in printed
    run_warm(NEXT, {**keys, "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "20"})
    receiver.wait_for(4)
    assert tree(receiver.spans) == [("next", None), ("ours", None), ("work", None), ("work", "ours")]
    assert receiver.doubled() == {}

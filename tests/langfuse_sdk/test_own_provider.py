"""The application exports to a back end of its own: its tree is untouched there, and whole in Langfuse."""

from __future__ import annotations

import pytest

from fresh import run_warm
from peers.misbehaviour import status
from peers.otlp import Receiver

APPLICATION = """
    import asyncio
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    other = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(other))
    trace.set_tracer_provider(own)
    tracer = trace.get_tracer("shop")

    from langfuse import get_client, observe
    from langchain_core.runnables import RunnableLambda
    from langchain_core.tools import tool
    from langfuse_integration import langfuse_manager
    from langfuse_integration_langchain import SessionHandler

    CHAT = {"gen_ai.operation.name": "chat"}

    def chat(name="chat"):
        return tracer.start_as_current_span(name, attributes=CHAT)

    def tree():
        spans = other.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans}
        return sorted((span.name, names.get(span.parent.span_id, "?") if span.parent else "-") for span in spans)

    def traces():
        return len({span.context.trace_id for span in other.get_finished_spans()})
"""


@pytest.mark.langchain
def test_spans_for_langfuse_stand_below_the_run_around_them(receiver: Receiver) -> None:
    """In sync and async tools, with and without a request's span, one in another: the other back end sees no change."""
    printed = run_warm(
        APPLICATION
        + """
    def inside():
        with tracer.start_as_current_span("database"), chat():
            with chat("inner chat"):
                pass

    @tool
    def search(query: str) -> str:
        "Search."
        inside()
        return query

    @tool
    async def search_later(query: str) -> str:
        "Search."
        await asyncio.sleep(0)
        inside()
        return query

    config = {"callbacks": [SessionHandler()]}

    async def three():
        await asyncio.gather(*(search_later.ainvoke({"query": "hay"}, config) for _ in range(3)))

    with langfuse_manager.session("s-1", user_id="u-1"):
        search.invoke({"query": "hay"}, config)
        asyncio.run(three())
        print(traces())
        with tracer.start_as_current_span("GET /"):
            search.invoke({"query": "hay"}, config)
    print(traces(), tree())
    print(langfuse_manager.flush(20))
    """,
        receiver.environment(),
    )
    expected = [("GET /", "-"), *[("chat", "database")] * 5, *[("database", "-")] * 4, ("database", "GET /")]
    expected += [("inner chat", "chat")] * 5
    assert printed.splitlines() == ["4", f"5 {sorted(expected)}", "FlushResult(delivered=15, pending=0, lost=0)"]
    receiver.wait_for(15)
    below = ("chat", ("inner chat",))
    assert sorted(receiver.trees()) == sorted([("search", below)] * 2 + [("search_later", below)] * 3)
    assert {span.attributes["session.id"] for span in receiver.spans} == {"s-1"}
    assert [span.name for span in receiver.spans if span.attributes.get("langfuse.internal.is_app_root")] == ["search"]


@pytest.mark.langchain
def test_rows_below_such_spans_are_in_the_same_trace(receiver: Receiver) -> None:
    """@observe, the client's ids, scores and updates, and runs below a span of the application are the run's trace."""
    printed = run_warm(
        APPLICATION
        + """
    @observe()
    def helper():
        pass

    def node(value):
        client, row = get_client(), langfuse_manager.current_observation
        with tracer.start_as_current_span("database"):
            assert client.get_current_observation_id() == row.id
            client.update_current_span(metadata={"by": "node"})
            helper()
        with chat() as span:
            assert trace.get_current_span() is span
            assert client.get_current_trace_id() == row.trace_id
            assert client.get_current_observation_id() == f"{span.get_span_context().span_id:016x}"
            client.update_current_span(metadata={"by": "chat"})
            helper()
            with langfuse_manager.trace_span("ours"):
                RunnableLambda(lambda x: x, name="below").invoke(value, config)
        return value

    config = {"callbacks": [SessionHandler()]}
    with langfuse_manager.session("s-1", user_id="u-1"):
        RunnableLambda(node).invoke("x", config)
    print(langfuse_manager.flush(20))
    """,
        receiver.environment(),
    )
    assert printed.splitlines() == ["FlushResult(delivered=6, pending=0, lost=0)"]
    spans = receiver.wait_for(6)
    assert receiver.trees() == [("node", ("helper",), ("chat", ("helper",), ("ours", ("below",))))]
    by = {span.name: str(span.attributes.get("langfuse.observation.metadata.by")).strip(chr(34)) for span in spans}
    assert (by["node"], by["chat"]) == ("node", "chat")
    assert len({span.trace_id for span in spans}) == 1


@pytest.mark.langchain
def test_a_customised_client_gets_such_spans_in_their_place(receiver: Receiver) -> None:
    """A client with a mask exports by itself: also there the application's span stands below the run."""
    run_warm(
        APPLICATION
        + """
    from langfuse import Langfuse
    client = Langfuse(mask=lambda *, data, **_: data)

    def node(value):
        with chat():
            pass
        return value

    with langfuse_manager.session("s-1", user_id="u-1"):
        RunnableLambda(node).invoke("x", {"callbacks": [SessionHandler()]})
    assert langfuse_manager.flush(20).lost == 0
    client.flush()
    """,
        receiver.environment(),
    )
    receiver.wait_for(2)
    assert receiver.trees() == [("node", ("chat",))]


@pytest.mark.langchain
def test_a_process_that_dies_leaves_such_spans_in_their_place(receiver: Receiver) -> None:
    """What was open when the process was killed is delivered by the next one, in one trace."""
    keys = receiver.environment()
    receiver.always(status(503))
    run_warm(
        APPLICATION
        + """
    import os, sqlite3, time

    def node(value):
        with chat():
            while True:  # until both are in the journal
                time.sleep(0.02)
                try:
                    rows = sqlite3.connect(os.environ["LANGFUSE_INTEGRATION_JOURNAL"]).execute(
                        "SELECT count(*) FROM open_spans").fetchone()[0]
                except sqlite3.Error:
                    continue
                if rows >= 2:
                    os._exit(0)

    langfuse_manager.set_session("s-1")
    RunnableLambda(node).invoke("x", {"callbacks": [SessionHandler()]})
    """,
        keys,
    )
    receiver.always(None)
    run_warm(
        """
        from langfuse_integration import langfuse_manager
        with langfuse_manager.trace_span("next"):
            pass
        langfuse_manager.flush(20)
        """,
        {**keys, "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "20"},
    )
    receiver.wait_for(3)
    assert sorted(receiver.trees()) == [("next",), ("node", ("chat",))]

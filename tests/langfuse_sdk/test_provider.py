"""Spans of others: they nest by themselves, carry the session, and are sent once."""

from __future__ import annotations

import pytest
from opentelemetry import trace as trace_api

from fresh import run_fresh, run_warm
from langfuse_integration import langfuse_manager
from langfuse_integration.recording import ambient, otel_spans, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.testing import RecordedSessions
from peers.otlp import Receiver, Span


def by_outline(entry: tuple[str | None, ...]) -> list[str]:
    return [str(part) for part in entry]


def outline(spans: list[Span]) -> list[tuple[str, str | None, str | None, str | None]]:
    """Return (name, name of the parent, session, user) of each span, by name."""
    names = {span.span_id: span.name for span in spans}
    found = [
        (span.name, names.get(span.parent_id or ""), span.attributes.get("session.id"), span.attributes.get("user.id"))
        for span in spans
    ]
    return sorted(found, key=by_outline)


def test_an_observation_is_a_span_of_the_api() -> None:
    """Whatever asks for the current span gets the observation, and may write into it."""
    with langfuse_manager.trace_span("query") as query:
        current = trace_api.get_current_span()
        assert current is query
        assert isinstance(current, trace_api.Span)
        assert current.is_recording()
        context = current.get_span_context()
        assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (query.trace_id, query.id)
        assert context.is_valid
        assert not context.is_remote
    assert not query.is_recording()
    assert trace_api.get_current_span() is trace_api.INVALID_SPAN


def test_what_others_write_into_the_current_span_arrives(sessions: RecordedSessions) -> None:
    """Attributes, name, status, events and exceptions set through OpenTelemetry's API are recorded."""
    with langfuse_manager.trace_span("query", input="ours"):
        span = trace_api.get_current_span()
        span.set_attribute("langfuse.observation.input", '{"theirs": 1}')
        span.set_attributes({"app.answer": 42, "app.ok": True, "app.list": ["a", "b"]})
        span.add_event("retry", {"attempt": 2})
        span.update_name("renamed")
    with langfuse_manager.trace_span("failed"):
        trace_api.get_current_span().record_exception(ValueError("bad"))
    with langfuse_manager.trace_span("status"):
        trace_api.get_current_span().set_status(trace_api.StatusCode.ERROR, "worse")
    renamed, failed, status = sessions.observations
    assert (renamed.name, renamed.input) == ("renamed", {"theirs": 1})
    assert renamed.attributes["app.answer"] == 42
    assert renamed.attributes["app.ok"] is True
    assert renamed.attributes["app.list"] == ["a", "b"]
    assert renamed.metadata["event.retry"] == {"attempt": 2}
    assert (failed.level, failed.status_message) == ("ERROR", "ValueError: bad")
    assert (status.level, status.status_message) == ("ERROR", "worse")


def test_the_innermost_of_all_sources_is_current() -> None:
    """A framework's run counts when it is younger than OpenTelemetry's current span, and the other way round."""
    running: list[Observation] = []

    def source() -> Parent | None:
        return running[-1] if running else None

    ambient.register(source)
    ambient.register(source)
    try:
        with langfuse_manager.trace_span("outer") as outer:
            assert ambient.current() is outer
            running.append(tracing.start("run", "tool"))
            assert running[0].parent == outer.span
            assert ambient.current() is running[0]
            with langfuse_manager.trace_span("inner") as inner:
                assert inner.parent == running[0].span
                assert ambient.current() is inner
            assert ambient.current() is running[0]
    finally:
        ambient.unregister(source)


def test_a_span_that_repeats_what_an_adapter_records_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of a duplicating scope is current only where no framework has an active run, even an older one.

    Neither is a span that does not reach Langfuse.
    """
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setattr(otel_spans, "duplicate_scopes", {"echo"})
    provider = TracerProvider()
    run = tracing.start("run", "tool")
    with provider.get_tracer("echo").start_as_current_span("the same again") as span:
        found = ambient.current()
        assert found is not None
        assert found.span == span.get_span_context().span_id
        with monkeypatch.context() as patched:
            patched.setattr(ambient, "_sources", (lambda: run,))
            assert ambient.current() is run
            with provider.get_tracer("mine").start_as_current_span("inner"):
                assert ambient.current() is run
    assert trace_api.get_current_span() is trace_api.INVALID_SPAN


OTHERS = """
    import asyncio, json, sys
    from langfuse import observe, get_client
    from opentelemetry import trace
    from langfuse_integration import langfuse_manager
    from langfuse_integration.recording import ambient, tracing

    @observe()
    def decorated(x):
        with langfuse_manager.trace_span("inside_decorated"):
            get_client().update_current_span(metadata={"updated": True})
        return x

    @observe(as_type="generation")
    async def generated(x):
        await asyncio.sleep(0)
        return x

    langfuse_manager.set_session("s-1", user_id="u-1")
    with langfuse_manager.trace_span("outer"):
        decorated(1)
        asyncio.run(generated(2))
        with trace.get_tracer("some.instrumentor").start_as_current_span("chat", attributes={"gen_ai.system": "x"}):
            with langfuse_manager.trace_span("inside_chat"):
                pass
        with trace.get_tracer("a.web.framework").start_as_current_span("GET /"):
            with langfuse_manager.trace_span("below_web"):
                pass
    decorated(3)
    langfuse_manager.set_session("s-2", user_id="u-2")
    decorated(4)
    get_client().flush()
    print(langfuse_manager.flush(20))
"""
OUTLINE = [
    ("below_web", "outer", "s-1", "u-1"),
    ("chat", "outer", "s-1", "u-1"),
    ("decorated", None, "s-1", "u-1"),
    ("decorated", None, "s-2", "u-2"),
    ("decorated", "outer", "s-1", "u-1"),
    ("generated", "outer", "s-1", "u-1"),
    ("inside_chat", "chat", "s-1", "u-1"),
    ("inside_decorated", "decorated", "s-1", "u-1"),
    ("inside_decorated", "decorated", "s-1", "u-1"),
    ("inside_decorated", "decorated", "s-2", "u-2"),
    ("outer", None, "s-1", "u-1"),
]


def roots(spans: list[Span]) -> list[str]:
    return sorted(
        span.name for span in spans if not span.parent_id or span.attributes.get("langfuse.internal.is_app_root")
    )


def test_spans_of_langfuse_and_of_others_nest_and_carry_the_session(receiver: Receiver) -> None:
    """@observe, OpenTelemetry spans and ours stand in one tree, each sent once, each with session and user.

    A web framework's span is not for Langfuse: what stands below it hangs on the row above.
    """
    said = run_warm(OTHERS, receiver.environment())
    assert said.strip() == "FlushResult(delivered=11, pending=0, lost=0)"
    spans = receiver.wait_for(11)
    assert outline(spans) == sorted(OUTLINE, key=by_outline)
    assert receiver.doubled() == {}
    assert roots(spans) == ["decorated", "decorated", "outer"]
    assert all(request.headers["x-langfuse-ingestion-version"] == "4" for request in receiver.requests)
    decorated = next(span for span in spans if span.name == "decorated" and span.parent_id)
    assert decorated.attributes["langfuse.observation.output"] == "1"
    inside = next(span for span in spans if span.name == "inside_decorated")
    assert inside.attributes["langfuse.observation.metadata.updated"] in (True, "true", "True")


def test_without_keys_they_are_in_the_journal_too() -> None:
    """`@observe` records nothing without keys by itself; beside us it goes into the local journal."""
    said = run_warm(OTHERS + "    print(langfuse_manager.mode)\n")
    printed, _, logged = said.partition("[stderr]")
    assert printed.split() == ["FlushResult(delivered=11,", "pending=0,", "lost=0)", "local"]
    assert logged.strip().startswith(
        "Langfuse's SDK is in use, but LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"
    )
    assert len(logged.strip().splitlines()) == 1


def test_a_client_that_the_application_made_is_used_as_it_is() -> None:
    """The exporter and mask of an application's client get our rows, with session and user; nothing goes elsewhere."""
    said = run_warm(
        """
        import json
        from langfuse import Langfuse, observe
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from langfuse_integration import langfuse_manager

        exporter = InMemorySpanExporter()
        client = Langfuse(
            public_key="pk-own", secret_key="sk-own", base_url="http://127.0.0.1:9", span_exporter=exporter,
            mask=lambda *, data, **_: json.loads(json.dumps(data).replace("secret", "***")),
        )

        @observe()
        def decorated(x):
            return x

        langfuse_manager.set_session("s-1", user_id="u-1")
        with langfuse_manager.trace_span("outer", input="my secret"):
            decorated("a secret")
        langfuse_manager.clear_session()
        with langfuse_manager.trace_span("untagged"):
            pass
        print(langfuse_manager.flush(20), langfuse_manager.stats.handed_over)
        client.flush()
        for span in sorted(exporter.get_finished_spans(), key=lambda span: span.name):
            a = span.attributes
            print(span.name, a.get("session.id"), a.get("user.id"), a.get("langfuse.observation.input"),
                  span.parent is not None, a.get("langfuse.internal.is_app_root"))
        import os
        print(os.path.exists(os.environ["LANGFUSE_INTEGRATION_JOURNAL"]))
        """
    )
    assert said.splitlines() == [
        "FlushResult(delivered=0, pending=0, lost=0) 2",
        'decorated s-1 u-1 {"args": ["a ***"], "kwargs": {}} True False',
        "outer s-1 u-1 my *** False None",
        "untagged None None None False None",
        "False",
    ]


def test_a_provider_that_the_application_registered_is_left_to_it(receiver: Receiver) -> None:
    """Our processor is added to it: spans that Langfuse wants are stamped and taken along, others are not."""
    said = run_warm(
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from langfuse_integration import langfuse_manager

        own, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(own))
        trace.set_tracer_provider(provider)
        langfuse_manager.set_session("s-1", user_id="u-1")
        tracer = trace.get_tracer("app")
        chat = tracer.start_as_current_span("chat", attributes={"gen_ai.system": "x"})
        with langfuse_manager.trace_span("outer"), chat:
            with tracer.start_as_current_span("database"):
                pass
        print(trace.get_tracer_provider() is provider, sorted(span.name for span in own.get_finished_spans()))
        print(langfuse_manager.flush(20))
        """,
        receiver.environment(),
    )
    assert said.splitlines()[0] == "True ['chat', 'database']"
    assert outline(receiver.wait_for(2)) == [("chat", "outer", "s-1", "u-1"), ("outer", None, "s-1", "u-1")]


def test_what_langfuse_itself_propagates_counts_where_nothing_is_set(receiver: Receiver) -> None:
    """Inside of `propagate_attributes` our spans are in its session, unless one is set our way."""
    run_warm(
        """
        from langfuse import propagate_attributes
        from langfuse_integration import langfuse_manager

        with propagate_attributes(session_id="s-theirs", user_id="u-theirs"):
            with langfuse_manager.trace_span("theirs"):
                pass
            with langfuse_manager.session("s-ours"), langfuse_manager.trace_span("ours"):
                pass
        with langfuse_manager.trace_span("after"):
            pass
        langfuse_manager.flush(20)
        """,
        receiver.environment(),
    )
    assert outline(receiver.wait_for(3)) == [
        ("after", None, None, None),
        ("ours", None, "s-ours", None),
        ("theirs", None, "s-theirs", "u-theirs"),
    ]


def test_importing_does_nothing() -> None:
    """No thread, no OpenTelemetry, no langfuse, no settings library, no file: until something is recorded."""
    said = run_fresh(
        """
        import sys, threading, os
        import langfuse_integration
        heavy = [name for name in ("langfuse", "opentelemetry", "pydantic", "pydantic_settings", "sqlite3", "orjson",
                                   "asyncio", "httpx", "rich", "typer", "streamlit", "redis") if name in sys.modules]
        print(heavy, threading.active_count(), os.path.exists(os.environ["LANGFUSE_INTEGRATION_JOURNAL"]))
        """
    )
    assert said.split() == ["[]", "1", "False"]


@pytest.mark.parametrize("times", [1, 2])
def test_the_next_span_is_a_root_of_its_own(times: int, sessions: RecordedSessions) -> None:
    """After a block, and after a generator that was abandoned inside of one, nothing is current."""

    def stream() -> object:
        with langfuse_manager.trace_span("stream"):
            yield 1
            yield 2

    for _ in range(times):
        opened = iter(stream())  # type: ignore[call-overload]
        next(opened)
        del opened
        with langfuse_manager.trace_span("next") as found:
            assert found.parent == 0
    assert sorted(trace.name for trace in sessions.traces) == ["next"] * times + ["stream"] * times

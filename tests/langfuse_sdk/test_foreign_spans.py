"""Spans that do not reach Langfuse: rows below them hang on the nearest row above, and only one is the root."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from fresh import run_warm
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from peers.otlp import Receiver


@pytest.fixture
def tracer() -> object:
    """A tracer of a provider that nobody else knows."""
    return TracerProvider(shutdown_on_exit=False).get_tracer("shop")


def app_roots(sessions: RecordedSessions) -> list[str]:
    return [row.name for row in sessions.observations if row.attributes.get("langfuse.internal.is_app_root")]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_row_below_foreign_spans_hangs_on_the_row_above(
    depth: int, tracer: object, sessions: RecordedSessions
) -> None:
    """However many foreign spans are between them, and in threads and tasks too."""

    def below(level: int) -> None:
        if not level:
            with langfuse_manager.trace_span("inner"), langfuse_manager.trace_span("innermost"):
                pass
            return
        with tracer.start_as_current_span("foreign"):  # type: ignore[attr-defined]
            below(level - 1)

    async def in_a_task() -> None:
        await asyncio.to_thread(below, depth)

    with langfuse_manager.session("s-1", user_id="u-1"), langfuse_manager.trace_span("turn"):
        below(depth)
        asyncio.run(in_a_task())
    assert sessions.trace().tree() == [{"span turn": [{"span inner": ["span innermost"]}] * 2}]
    assert app_roots(sessions) == []


def test_a_row_below_nothing_but_foreign_spans_is_the_root(tracer: object, sessions: RecordedSessions) -> None:
    """A web framework's request has no row above: the row below it is the application's root."""
    start: Any = tracer.start_as_current_span  # type: ignore[attr-defined]
    with start("GET /"), langfuse_manager.trace_span("turn"), start("database"), langfuse_manager.trace_span("query"):
        pass
    assert sessions.trace().tree() == [{"span turn": ["span query"]}]
    assert app_roots(sessions) == ["turn"]


def test_spans_of_the_sdk_hang_on_the_nearest_row_too(receiver: Receiver) -> None:
    """@observe below a span of the application's own provider, below another @observe or a row of ours."""
    run_warm(
        """
        from langfuse import observe
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from langfuse_integration import langfuse_manager

        trace.set_tracer_provider(TracerProvider())
        tracer = trace.get_tracer("shop")

        @observe()
        def inner():
            pass

        @observe()
        def outer():
            with tracer.start_as_current_span("foreign"), tracer.start_as_current_span("foreign"):
                inner()
                with langfuse_manager.trace_span("ours"):
                    pass

        with langfuse_manager.session("s-1", user_id="u-1"), langfuse_manager.trace_span("turn"):
            with tracer.start_as_current_span("foreign"):
                outer()
        langfuse_manager.flush(20)
        """,
        receiver.environment(),
    )
    spans = receiver.wait_for(4)
    assert receiver.trees(ordered=False) == [("turn", ("outer", ("inner",), ("ours",)))]
    assert [span.name for span in spans if span.attributes.get("langfuse.internal.is_app_root")] == []


def test_a_task_that_outlives_a_span_starts_a_trace_of_its_own(sessions: RecordedSessions) -> None:
    """Within the trace it belongs to the span that started it; once the trace's root has ended, it is a new turn."""

    async def main() -> None:
        more, done = asyncio.Event(), asyncio.Event()

        async def worker() -> None:
            await done.wait()
            with langfuse_manager.trace_span("late step"):
                pass
            done.clear()
            await more.wait()
            for _ in range(2):
                with langfuse_manager.trace_span("next turn"):
                    pass

        with langfuse_manager.session("s-1", user_id="u-1"):
            with langfuse_manager.trace_span("turn"):
                with langfuse_manager.trace_span("step"):
                    task = asyncio.create_task(worker())
                done.set()
                while done.is_set():
                    await asyncio.sleep(0)
            more.set()
            await task

    asyncio.run(main())
    trees = sorted((tree for trace in sessions.traces for tree in trace.tree()), key=str)
    assert trees == ["span next turn", "span next turn", {"span turn": [{"span step": ["span late step"]}]}]
    assert {row.session_id for row in sessions.observations} == {"s-1"}


def test_generators_that_overlap_leave_nothing_current(sessions: RecordedSessions) -> None:
    """Two spans in generators end in the order in which they began: what comes next is a root."""

    def stream(name: str) -> object:
        with langfuse_manager.trace_span(name):
            yield
        yield

    first, second = stream("first"), stream("second")
    for generator in (first, second, first, second):
        next(generator)  # type: ignore[call-overload]
    with langfuse_manager.trace_span("next") as row:
        assert row.parent == 0
    assert any(tree == "span next" for trace in sessions.traces for tree in trace.tree())

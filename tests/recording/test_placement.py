"""Work placed elsewhere than where it runs: nothing of the context around it counts."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest
from opentelemetry import trace

from langfuse_integration import Session, langfuse_manager
from langfuse_integration.recording import ambient, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.placement import Placed
from langfuse_integration.testing import RecordedSessions


@pytest.fixture
def framework() -> Iterator[contextvars.ContextVar[Parent | None]]:
    """A framework that keeps its current run in a context variable, as LangChain does."""
    run: contextvars.ContextVar[Parent | None] = contextvars.ContextVar("run", default=None)
    ambient.register(run.get)
    yield run
    ambient.unregister(run.get)


def test_neither_session_nor_run_nor_span_around_it_counts(
    sessions: RecordedSessions, framework: contextvars.ContextVar[Parent | None]
) -> None:
    """In a block of B, opened in A's context, all that starts is B's; after it, A's again."""
    with langfuse_manager.session("session-b"):
        parent = tracing.start("of b", "tool")
    with langfuse_manager.session("session-a"), langfuse_manager.trace_span("of a") as around:
        framework.set(tracing.start_below(around, "run of a", "chain"))
        with Placed(parent.session, parent):
            assert langfuse_manager.current_session_id == "session-b"
            assert langfuse_manager.current_observation is parent
            with langfuse_manager.trace_span("placed"):
                trace.get_tracer("langfuse-sdk").start_span("of a library").end()
        assert langfuse_manager.current_session_id == "session-a"
        assert ambient.current() is framework.get()
    parent.finish()
    assert sessions.of("session-b").traces[0].tree() == [{"tool of b": [{"span placed": ["span of a library"]}]}]
    assert sessions.of("session-a").traces[0].tree() == ["span of a"]


def test_what_nobody_is_certain_of_is_untagged_and_a_root(
    sessions: RecordedSessions, framework: contextvars.ContextVar[Parent | None]
) -> None:
    """A block of nobody: no session and no parent, for our own spans and for those of others."""
    with langfuse_manager.session("session-a"), langfuse_manager.trace_span("of a") as around:
        framework.set(around)
        with Placed(None, None):
            assert langfuse_manager.current_session is None
            assert langfuse_manager.current_observation is None
            with langfuse_manager.trace_span("nobody's"):
                pass
            trace.get_tracer("langfuse-sdk").start_span("of a library").end()
    assert [trace.tree() for trace in sessions.of(None).traces] == [["span nobody's"], ["span of a library"]]
    assert sessions.of("session-a").traces[0].tree() == ["span of a"]


def test_a_run_that_starts_in_the_block_counts(
    sessions: RecordedSessions, framework: contextvars.ContextVar[Parent | None]
) -> None:
    """What a framework starts in there is current there."""
    with Placed(Session("session-b"), None):
        run = tracing.start("run", "chain")
        token = framework.set(run)
        with langfuse_manager.trace_span("below"):
            pass
        framework.reset(token)
        run.finish()
    assert sessions.one().traces[0].tree() == [{"chain run": ["span below"]}]


def test_a_remote_parent_is_a_parent(sessions: RecordedSessions) -> None:
    """Anything with the ids of a span can stand above."""

    class Elsewhere:
        trace, span, session, origin, started_ns, exported, companion = 7, 9, None, None, 0, True, 0

    with Placed(Session("session-b"), Elsewhere()):
        assert trace.get_current_span().get_span_context().span_id == 9
        with langfuse_manager.trace_span("below") as below:
            assert isinstance(below, Observation)
    [found] = sessions.observations
    assert (found.trace_id, found.parent_id, found.session_id) == (f"{7:032x}", f"{9:016x}", "session-b")
    assert not found.is_root


def test_a_source_that_was_taken_back_is_not_asked(sessions: RecordedSessions) -> None:
    """A bound method counts as the same source, though each look at it makes another object."""
    run: contextvars.ContextVar[Parent | None] = contextvars.ContextVar("another run", default=None)
    ambient.register(run.get)
    token = run.set(tracing.start("run", "chain"))
    assert ambient.current() is run.get()
    ambient.unregister(run.get)
    assert ambient.current() is None
    run.reset(token)

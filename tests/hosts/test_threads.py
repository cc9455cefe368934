"""Threads and pools: with bind and detached by hand, and carried along once they are instrumented."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.threads import instrument_threads, uninstrument_threads
from langfuse_integration.recording import tracing
from langfuse_integration.sessions.cells import Cell
from langfuse_integration.testing import RecordedSessions


@pytest.fixture
def instrumented() -> Iterator[None]:
    """Threads that carry sessions, for one test."""
    instrument_threads()
    yield
    uninstrument_threads()


INHERITS = bool(getattr(sys.flags, "thread_inherit_context", False))
"""Whether Python itself starts a thread in a copy of its starter's context: 3.14, free-threaded or told so."""


def record(expected: str) -> str:
    """Record an observation whose input is the session that it must be in, "nobody" for none."""
    with langfuse_manager.trace_span("work", input=expected):
        return langfuse_manager.current_session_id or "nobody"


def misplaced(sessions: RecordedSessions) -> list[tuple[str, str | None]]:
    """Return what is not in the session that its input names."""
    return [
        (found.input, found.session_id)
        for found in sessions.observations
        if (found.session_id or "nobody") != found.input
    ]


def in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Run *work* in a thread of its own, and wait for it."""
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    thread.join(60)


def test_a_plain_thread_is_untagged_unless_bound(sessions: RecordedSessions) -> None:
    """A bare thread or pool knows no session; what was bound takes that of its binding, also after it changed."""
    langfuse_manager.set_session("a")
    bound = langfuse_manager.bind(record)
    langfuse_manager.set_session("b")
    with ThreadPoolExecutor(2) as pool:
        in_thread(record, "b" if INHERITS else "nobody")
        in_thread(bound, "a")
        assert pool.submit(record, "nobody").result(60) == "nobody"
        assert list(pool.map(langfuse_manager.bind(record), ["b"] * 4)) == ["b"] * 4
        assert pool.submit(record, "nobody").result(60) == "nobody"
    assert misplaced(sessions) == []


@pytest.mark.usefixtures("instrumented")
def test_instrumented_threads_carry_the_session(sessions: RecordedSessions) -> None:
    """Thread, Timer, a pool's submit and map and asyncio's executor are in the session of who starts them."""
    langfuse_manager.set_session("a")

    async def in_executor() -> str:
        return await asyncio.get_running_loop().run_in_executor(None, record, "a")

    def nested() -> None:
        in_thread(record, "a")
        with langfuse_manager.session("b"):
            in_thread(record, "b")

    in_thread(record, "a")
    in_thread(nested)
    timer = threading.Timer(0.001, record, args=("a",))
    timer.start()
    timer.join(60)
    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(record, "a").result(60) == "a"
        assert list(pool.map(record, ["a"] * 3)) == ["a"] * 3
    assert asyncio.run(in_executor()) == "a"
    assert misplaced(sessions) == []
    assert len(sessions.observations) == 9


@pytest.mark.usefixtures("instrumented")
def test_a_thread_of_a_pool_forgets_the_task_before(sessions: RecordedSessions) -> None:
    """A pool that one user's task started is in each later task's session, and in none for a task of nobody."""
    with ThreadPoolExecutor(2) as pool:

        def submit(session: str | None, expected: str) -> None:
            with langfuse_manager.session(session) if session else langfuse_manager.detached():
                assert pool.submit(record, expected).result(60) == expected

        submit("a", "a")
        assert pool.submit(record, "nobody").result(60) == "nobody"
        for _ in range(20):
            name = random.choice(["a", "b", "c", None])
            submit(name, name or "nobody")
    assert misplaced(sessions) == []


@pytest.mark.usefixtures("instrumented")
def test_what_a_thread_sets_stays_in_it(sessions: RecordedSessions) -> None:
    """A session set in a thread holds there, and not in the code that started it, unless that is one visit."""

    def other() -> None:
        assert langfuse_manager.current_session_id == "a"
        langfuse_manager.set_session("b")
        record("b")
        langfuse_manager.clear_session()
        record("nobody")

    langfuse_manager.set_session("a")
    in_thread(other)
    record("a")

    visit = Cell.hosted()
    with tracing.store.visiting(visit):
        in_thread(langfuse_manager.set_session, "visit")
        record("visit")
        in_thread(record, "visit")
    record("a")
    assert misplaced(sessions) == []


@pytest.mark.usefixtures("instrumented")
def test_parents_go_along(sessions: RecordedSessions) -> None:
    """What a thread records inside of a span stands below it; the starting thread's context is left as it was."""
    langfuse_manager.set_session("a")
    with langfuse_manager.trace_span("parent"):
        in_thread(record, "a")
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert sessions.trace().tree() == [{"span parent": ["span work"]}]


@pytest.mark.usefixtures("instrumented")
def test_a_worker_that_outlives_its_user_is_started_detached(sessions: RecordedSessions) -> None:
    """Inside of detached() a thread is started that carries nobody."""
    langfuse_manager.set_session("a")
    with langfuse_manager.detached():
        in_thread(record, "nobody")
    record("a")
    assert misplaced(sessions) == []


def test_it_is_idempotent_and_leaves_nothing(sessions: RecordedSessions) -> None:
    """Instrumented twice and undone, threads are Python's own again; an instrumentation of the application's stays."""
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor

    methods = (threading.Thread.start, threading.Thread.run, ThreadPoolExecutor.submit)
    instrument_threads()
    instrument_threads()
    uninstrument_threads()
    uninstrument_threads()
    assert (threading.Thread.start, threading.Thread.run, ThreadPoolExecutor.submit) == methods
    langfuse_manager.set_session("a")
    in_thread(record, "a" if INHERITS else "nobody")

    own = ThreadingInstrumentor()
    own.instrument()
    try:
        instrument_threads()
        in_thread(record, "a")
        uninstrument_threads()
        assert own.is_instrumented_by_opentelemetry
        in_thread(record, "a" if INHERITS else "nobody")
    finally:
        own.uninstrument()
    assert (threading.Thread.start, threading.Thread.run, ThreadPoolExecutor.submit) == methods
    assert misplaced(sessions) == []


def test_without_the_package_the_error_names_the_extra() -> None:
    """Where opentelemetry-instrumentation-threading is missing, the ImportError says how to get it."""
    script = (
        "import sys; sys.modules['opentelemetry.instrumentation.threading'] = None\n"
        "from langfuse_integration.hosts.threads import instrument_threads\n"
        "try: instrument_threads()\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.strip() == (
        "opentelemetry-instrumentation-threading is not installed: pip install 'langfuse-integration[threads]'."
    )

"""SessionStore: which session is active here, and never another user's."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import random
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langfuse_integration import Session, langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.sessions.cells import Cell
from langfuse_integration.sessions.store import SessionStore
from langfuse_integration.testing import RecordedSessions

A, B = Session("a", "alice"), Session("b", "bob")


class Visits:
    """A host as the store sees one: it tells whose visit is visible in this context."""

    visible: contextvars.ContextVar[Cell | None] = contextvars.ContextVar("visible", default=None)

    def cell(self) -> Cell | None:
        return self.visible.get()


@pytest.fixture
def visits() -> Iterator[Visits]:
    host = Visits()
    tracing.store.add_host(host)
    yield host
    tracing.store.remove_host(host)
    host.visible.set(None)


def test_nothing_is_guessed() -> None:
    """Where nobody set a session there is none."""
    assert tracing.store.current() is None
    assert langfuse_manager.current_session_id is None
    assert langfuse_manager.current_user_id is None


def test_sibling_tasks_do_not_mix() -> None:
    """A session set in one task is not seen in its sibling, nor in the task that started both."""

    async def visit(name: str) -> str | None:
        langfuse_manager.set_session(name, user_id=name)
        await asyncio.sleep(0)
        await asyncio.sleep(random.random() / 1000)
        return langfuse_manager.current_session_id

    async def all_of_them() -> list[str | None]:
        return await asyncio.gather(*(visit(f"s-{index}") for index in range(50)))

    assert asyncio.run(all_of_them()) == [f"s-{index}" for index in range(50)]
    assert langfuse_manager.current_session is None


def test_a_task_inherits_and_changes_only_its_own() -> None:
    """A task begins with the session of its maker; what it sets stays with it."""

    async def main() -> tuple[str | None, str | None]:
        langfuse_manager.set_session("outer")

        async def inner() -> str | None:
            before = langfuse_manager.current_session_id
            langfuse_manager.set_session("inner")
            return before

        return await asyncio.create_task(inner()), langfuse_manager.current_session_id

    assert asyncio.run(main()) == ("outer", "outer")


def test_a_bare_thread_has_no_session() -> None:
    """A thread without a copied context is untagged; Python copies one where threads inherit contexts."""
    langfuse_manager.set_session("a")
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(langfuse_manager.current_session_id))
    thread.start()
    thread.join()
    assert seen == ["a" if getattr(sys.flags, "thread_inherit_context", False) else None]


def test_bind_carries_the_session_into_a_pool_and_no_further() -> None:
    """A bound callable runs in the session of its binding; the pool's thread keeps nothing of it."""
    with ThreadPoolExecutor(1) as pool:
        with langfuse_manager.session("a", user_id="alice"):
            bound = langfuse_manager.bind(lambda: langfuse_manager.current_user_id)
        assert pool.submit(bound).result() == "alice"
        assert pool.submit(lambda: langfuse_manager.current_user_id).result() is None


def test_what_a_bound_callable_records_stands_under_the_span_of_its_binding(sessions: RecordedSessions) -> None:
    """In a pool the work is a child of the span that is open, and a root of its own once that has ended."""

    def work(name: str) -> None:
        with langfuse_manager.trace_span(name):
            pass

    with ThreadPoolExecutor(2) as pool, langfuse_manager.session("a"):
        with langfuse_manager.trace_span("request"):
            bound = langfuse_manager.bind(work)
            list(pool.map(bound, ["one", "two"]))
        pool.submit(bound, "late").result()
    assert sorted(map(str, (trace.tree() for trace in sessions.one().traces))) == [
        "['span late']",
        "[{'span request': ['span one', 'span two']}]",
    ]


def test_bind_works_for_coroutine_functions() -> None:
    """A bound coroutine function is still one, and runs in the session of its binding."""

    async def who() -> str | None:
        await asyncio.sleep(0)
        return langfuse_manager.current_session_id

    with langfuse_manager.session("a"):
        bound = langfuse_manager.bind(who)
    assert inspect.iscoroutinefunction(bound)
    assert asyncio.run(bound()) == "a"


def test_a_block_restores_what_was_before() -> None:
    """Blocks nest, in sync and async code, and end with the session that they found."""
    langfuse_manager.set_session("outer")
    with langfuse_manager.session("inner") as session:
        assert session == Session("inner")
        with langfuse_manager.detached():
            assert langfuse_manager.current_session is None
        langfuse_manager.set_session("changed")
        assert langfuse_manager.current_session_id == "changed"
    assert langfuse_manager.current_session_id == "outer"

    async def inside() -> str | None:
        async with langfuse_manager.session("async"):
            await asyncio.sleep(0)
            return langfuse_manager.current_session_id

    assert asyncio.run(inside()) == "async"


def test_a_block_that_is_closed_elsewhere_changes_nothing_there() -> None:
    """A generator opened under A and closed under B leaves B's session alone."""

    def stream() -> Iterator[None]:
        with langfuse_manager.session("stream"):
            yield

    opened = stream()
    contextvars.copy_context().run(next, opened)
    langfuse_manager.set_session("b")
    opened.close()
    assert langfuse_manager.current_session_id == "b"


def test_a_cleared_session_does_not_fall_through() -> None:
    """After clear_session not even a declared default shows."""
    tracing.store.declare_default(A)
    assert langfuse_manager.current_session is A
    langfuse_manager.set_session("s")
    langfuse_manager.clear_session()
    assert langfuse_manager.current_session is None


def test_a_user_may_change_alone() -> None:
    """set_user keeps session, tags and metadata; without a session there is a user only."""
    langfuse_manager.set_user("nobody-yet")
    assert langfuse_manager.current_session == Session(None, "nobody-yet")
    langfuse_manager.set_session("s", tags=["vip"], metadata={"plan": "free"})
    langfuse_manager.set_user("u")
    assert langfuse_manager.current_session == Session("s", "u", tags=["vip"], metadata={"plan": "free"})


def test_a_refused_session_leaves_the_old_one() -> None:
    """An id that is refused changes nothing."""
    langfuse_manager.set_session("good", user_id="u")
    for bad in ("", "x" * 201, 7, None):
        with pytest.raises((ValueError, TypeError)):
            langfuse_manager.set_session(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="user_id"):
        langfuse_manager.set_session("other", user_id=" ")
    assert langfuse_manager.current_session == Session("good", "u")


def test_a_visit_is_seen_from_every_context_of_it(visits: Visits) -> None:
    """What is set in one context of a visit shows in all others, for the host's cell changes in place."""
    visits.visible.set(Cell.hosted())
    elsewhere = contextvars.copy_context()
    langfuse_manager.set_session("tab")
    assert elsewhere.run(lambda: langfuse_manager.current_session_id) == "tab"
    langfuse_manager.clear_session()
    assert elsewhere.run(lambda: langfuse_manager.current_session_id) is None


def test_the_visible_visit_wins_over_one_left_behind(visits: Visits) -> None:
    """A thread that is used again for another user forgets the first one at once."""
    first, second = Cell.hosted(), Cell.hosted()
    visits.visible.set(first)
    langfuse_manager.set_session("first")
    visits.visible.set(second)
    assert langfuse_manager.current_session is None
    langfuse_manager.set_session("second")
    visits.visible.set(first)
    assert langfuse_manager.current_session_id == "first"


def test_a_block_inside_a_visit_does_not_change_the_visit(visits: Visits) -> None:
    """Sessions of a block stay in it, also what is set inside of it."""
    visits.visible.set(Cell.hosted())
    langfuse_manager.set_session("tab")
    with langfuse_manager.session("block"):
        langfuse_manager.set_session("deeper")
        assert langfuse_manager.current_session_id == "deeper"
    assert langfuse_manager.current_session_id == "tab"


def test_work_copied_out_of_a_visit_keeps_it(visits: Visits) -> None:
    """A context in which a host placed its cell keeps it, also where the host sees nothing or another visit."""

    def seen() -> str | None:
        return langfuse_manager.current_session_id

    def work() -> tuple[str | None, str | None]:
        tracing.store.place(Cell.hosted())
        langfuse_manager.set_session("tab")
        copied = contextvars.copy_context()
        alone = copied.run(seen)
        other = Cell.hosted()
        other.session, other.is_set = Session("other"), True
        copied.run(visits.visible.set, other)
        return alone, copied.run(seen)

    assert contextvars.copy_context().run(work) == ("tab", "tab")


def test_a_span_started_before_a_session_does_not_hold_it_back(sessions: RecordedSessions) -> None:
    """Below an open span without a session, what starts after set_session is in it."""
    with langfuse_manager.trace_span("request"):
        langfuse_manager.set_session("a")
        with langfuse_manager.trace_span("work"):
            pass
    trace = sessions.trace()
    assert trace.tree() == [{"span request": ["span work"]}]
    assert [found.session_id for found in trace.observations] == [None, "a"]


def test_a_session_set_inside_of_a_span_holds_from_there_on(sessions: RecordedSessions) -> None:
    """set_session means from here on, also inside of a span of another session."""
    langfuse_manager.set_session("a")
    with langfuse_manager.trace_span("one"):
        with langfuse_manager.trace_span("before"):
            pass
        with langfuse_manager.session("b"), langfuse_manager.trace_span("inside"):
            pass
        with langfuse_manager.trace_span("after"):
            pass
        langfuse_manager.clear_session()
        with langfuse_manager.trace_span("cleared"):
            pass
    seen = {found.name: found.session_id for found in sessions.observations}
    assert seen == {"one": "a", "before": "a", "inside": "b", "after": "a", "cleared": None}


def test_interleaved_async_generators_do_not_mix() -> None:
    """Two streams that each open a block, pulled in turns in one task, leave no session behind."""

    async def stream(name: str) -> AsyncIterator[str | None]:
        for _ in range(3):
            with langfuse_manager.session(name):
                seen = langfuse_manager.current_session_id
            yield seen

    async def main() -> list[str | None]:
        one, two = stream("one"), stream("two")
        seen = []
        for _ in range(3):
            seen += [await anext(one), await anext(two)]
        return [*seen, langfuse_manager.current_session_id]

    assert asyncio.run(main()) == ["one", "two"] * 3 + [None]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["set", "clear", "span", "user"])), max_size=60))
def test_no_interleaving_of_contexts_mixes_them(steps: list[tuple[int, str]]) -> None:
    """Whatever five contexts do in whatever order, each sees just what it set itself."""
    store = SessionStore()
    contexts = [contextvars.Context() for _ in range(5)]
    expected: list[Session | None] = [None] * 5
    for number, (who, what) in enumerate(steps):
        if what in ("set", "user"):
            expected[who] = Session(f"s-{number}", f"user-{who}")
            contexts[who].run(store.set, expected[who])
        elif what == "clear":
            expected[who] = None
            contexts[who].run(store.set, None)
        for index, context in enumerate(contexts):
            assert context.run(store.current) is expected[index]


class CircularJob:
    """What lives as long as a job, and only the garbage collector ends."""

    def __init__(self) -> None:
        self.itself = self


def test_a_job_that_the_collector_ends_is_left() -> None:
    """Its thread has no session then, and the next job's session is its own; what is copied from the job keeps it."""
    store = SessionStore()

    def work(session: Session) -> contextvars.Context:
        job = CircularJob()
        store.current_job = lambda store: job
        store.set(session)
        assert store.current() is session
        store.current_job = lambda store: None
        return contextvars.copy_context()

    for number in range(3):
        session = Session(f"s-{number}")
        copied = work(session)
        gc.collect()
        assert store.current() is None
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(copied.run, store.current).result() is session

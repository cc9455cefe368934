"""One request or job that works for several users at once, each in a thread: no user gets another's session."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from hosts.test_loop_tasks import USERS, Rows, record, rows_of, unset
from langfuse_integration import langfuse_manager
from langfuse_integration.hosts import asgi, wsgi
from langfuse_integration.hosts.tasks import Task
from langfuse_integration.hosts.threads import instrument_threads, uninstrument_threads

__all__ = ["unset"]  # a fixture of every test here


def serve(user: int, all_began: threading.Barrier, all_set: threading.Barrier) -> None:
    """Set the session of one user in a thread, and record in it, in a thread of its own and in a loop."""
    record(f"before {user}")
    all_began.wait(60)
    langfuse_manager.set_session(f"s-{user}", f"u-{user}")
    all_set.wait(60)
    for _ in range(3):
        record(f"row {user}")
        below = threading.Thread(target=contextvars.copy_context().run, args=(record, f"row {user}"))
        below.start()
        below.join()
        asyncio.run(later(user))
    langfuse_manager.set_session(f"t-{user}", f"u-{user}")
    record(f"row {user}")


async def later(user: int) -> None:
    """Record in a loop of the user's thread."""
    record(f"row {user}")


def barriers() -> tuple[threading.Barrier, threading.Barrier]:
    """Where all users meet: before and after they have set their sessions."""
    return threading.Barrier(len(USERS)), threading.Barrier(len(USERS))


async def serve_all() -> None:
    """Serve all users at once by `to_thread`, and record afterwards in a thread, too."""
    where = barriers()
    await asyncio.gather(*(asyncio.to_thread(serve, user, *where) for user in USERS))
    record("after")
    await asyncio.to_thread(record, "after")


def work() -> None:
    """Serve all users at once in threads that get copies of the context."""
    where = barriers()
    with ThreadPoolExecutor(len(USERS)) as pool:
        for user in USERS:
            pool.submit(contextvars.copy_context().run, serve, user, *where)
    record("after")
    contextvars.copy_context().run(record, "after")


def set_own(own: str | None) -> None:
    """Set a session for the whole request."""
    if own is not None:
        langfuse_manager.set_session(own)


def in_asgi(own: str | None) -> None:
    """Serve all users in a request of ASGI."""

    async def app(*_: Any) -> None:
        set_own(own)
        await serve_all()

    request = {"type": "http", "path": "/", "headers": []}
    asyncio.run(asgi.SessionMiddleware(app)(request, None, None))  # type: ignore[arg-type]


def in_task_of_asgi(own: str | None) -> None:
    """Serve all users in a task within a request, as below some middleware."""

    async def app(*_: Any) -> None:
        set_own(own)
        await asyncio.create_task(serve_all())

    request = {"type": "http", "path": "/", "headers": []}
    asyncio.run(asgi.SessionMiddleware(app)(request, None, None))  # type: ignore[arg-type]


def in_thread_of_asgi(own: str | None) -> None:
    """Serve all users from an endpoint that runs in a thread of the request."""

    def endpoint() -> None:
        set_own(own)
        work()

    async def app(*_: Any) -> None:
        await asyncio.to_thread(endpoint)

    request = {"type": "http", "path": "/", "headers": []}
    asyncio.run(asgi.SessionMiddleware(app)(request, None, None))  # type: ignore[arg-type]


def in_wsgi(own: str | None) -> None:
    """Serve all users in a request of WSGI."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        set_own(environ["own"])
        work()
        start_response("200 OK", [])
        return []

    environ: dict[str, Any] = {"own": own}
    setup_testing_defaults(environ)
    wsgi.SessionMiddleware(app)(environ, lambda *_: None)


def in_queue_task(own: str | None) -> None:
    """Serve all users in a task of a queue."""
    with Task():
        set_own(own)
        work()


def in_pool_that_carries(own: str | None) -> None:
    """Serve all users in a request, in a pool's threads that are instrumented."""
    in_request_with_instrumented_threads(own, lambda pool, *job: pool.submit(*job))


def in_threads_that_carry(own: str | None) -> None:
    """Serve all users in a request, in threads that are instrumented."""

    def start(_: object, *job: Any) -> threading.Thread:
        thread = threading.Thread(target=job[0], args=job[1:])
        thread.start()
        return thread

    in_request_with_instrumented_threads(own, start)


def in_request_with_instrumented_threads(own: str | None, start: Callable[..., Any]) -> None:
    """Serve all users in a request by *start*, which gets a pool and the job; the same pool serves a stranger after."""
    instrument_threads()
    where = barriers()
    with ThreadPoolExecutor(len(USERS)) as pool:

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            set_own(environ["own"])
            for done in [start(pool, serve, user, *where) for user in USERS]:
                done.join() if isinstance(done, threading.Thread) else done.result(60)
            record("after")
            pool.submit(record, "after").result(60)
            start_response("200 OK", [])
            return []

        environ: dict[str, Any] = {"own": own}
        setup_testing_defaults(environ)
        try:
            wsgi.SessionMiddleware(app)(environ, lambda *_: None)
            for done in [pool.submit(record, "stranger") for _ in range(20)]:
                done.result(60)
        finally:
            uninstrument_threads()


def nowhere(own: str | None) -> None:
    """Serve all users in a process without any host."""
    set_own(own)
    work()


PLACES: list[Callable[[str | None], None]] = [
    in_asgi,
    in_task_of_asgi,
    in_thread_of_asgi,
    in_wsgi,
    in_queue_task,
    in_pool_that_carries,
    in_threads_that_carry,
    nowhere,
]


def in_request(app: Callable[[], Any]) -> Callable[[], None]:
    """Return a request of ASGI that runs *app*."""

    async def called(*_: Any) -> None:
        await app()

    request = {"type": "http", "path": "/", "headers": []}
    return lambda: asyncio.run(asgi.SessionMiddleware(called)(request, None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [None, "s-own"])
@pytest.mark.parametrize("place", PLACES)
def test_threads_for_several_users_are_apart(place: Callable[[str | None], None], own: str | None) -> None:
    """Each user's thread is in its session, and so are its threads and loops; what is around them keeps its own."""
    expected: Rows = Counter({("after", own): 2})
    if "carr" in place.__name__:
        expected["stranger", None] = 20
    for user in USERS:
        expected[f"before {user}", own] = 1
        expected[f"row {user}", f"s-{user}"] = 9
        expected[f"row {user}", f"t-{user}"] = 1
    assert rows_of(lambda: place(own)) == expected


def test_what_threads_set_one_after_the_other_holds_for_the_request() -> None:
    """A dependency in a thread sets the session of the endpoint, which runs in another one, and of the request."""

    async def app() -> None:
        for turn in range(300):
            await asyncio.to_thread(langfuse_manager.set_session, f"s-{turn}")
            record(f"row {turn}")
            await asyncio.to_thread(record, f"row {turn}")
            await asyncio.create_task(later(turn))

    assert rows_of(in_request(app)) == {(f"row {turn}", f"s-{turn}"): 3 for turn in range(300)}


def test_threads_side_by_side_that_set_one_session_set_that_of_the_request() -> None:
    """Where all agree, the code of the request has the session, too."""

    async def app() -> None:
        both = threading.Barrier(2)

        def same() -> None:
            langfuse_manager.set_session("s-same")
            both.wait(60)

        await asyncio.gather(asyncio.to_thread(same), asyncio.to_thread(same))
        record("after")

    assert rows_of(in_request(app)) == {("after", "s-same"): 1}


def test_a_request_that_sets_its_session_after_its_threads() -> None:
    """What the request itself sets holds for it, and not for threads with a session of their own."""

    async def app() -> None:
        is_set, go_on = threading.Event(), threading.Event()

        def thread() -> None:
            langfuse_manager.set_session("s-thread")
            is_set.set()
            go_on.wait(60)
            record("thread")

        running = asyncio.create_task(asyncio.to_thread(thread))
        while not is_set.is_set():
            await asyncio.sleep(0.001)
        langfuse_manager.set_session("s-request")
        go_on.set()
        await running
        record("request")
        await asyncio.to_thread(record, "request")

    assert rows_of(in_request(app)) == {("thread", "s-thread"): 1, ("request", "s-request"): 2}


def test_the_end_of_a_thread_s_session_holds_for_the_request() -> None:
    """Clearing the session in a thread clears it for those that follow."""

    async def app() -> None:
        await asyncio.to_thread(langfuse_manager.set_session, "s-1")
        await asyncio.to_thread(record, "row")
        await asyncio.to_thread(langfuse_manager.clear_session)
        await asyncio.to_thread(record, "cleared")
        record("cleared")

    assert rows_of(in_request(app)) == {("row", "s-1"): 1, ("cleared", None): 2}


def serve_wsgi(app: Callable[[], None]) -> None:
    """Serve one request of WSGI with *app*."""

    def called(_: dict[str, Any], start_response: Any) -> list[bytes]:
        app()
        start_response("200 OK", [])
        return []

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    wsgi.SessionMiddleware(called)(environ, lambda *_: None)


def test_a_thread_that_does_the_same_for_somebody_else_is_not_beside() -> None:
    """A function that runs again in a thread is another call, also where Python has its frame at the same place."""
    began, go_on = threading.Lock(), threading.Lock()
    kept: list[contextvars.Context] = []

    def work(session_id: str, stranger: bool) -> None:
        if stranger:
            began.release()
            go_on.acquire()
            return
        langfuse_manager.set_session(session_id)
        kept.append(contextvars.copy_context())  # as a thread that goes on does

    def app() -> None:
        one.submit(contextvars.copy_context().run, work, "s-1", False).result(60)
        record("one")
        busy = one.submit(contextvars.Context().run, work, "", True)
        began.acquire()
        two.submit(contextvars.copy_context().run, work, "s-2", False).result(60)
        record("two")
        go_on.release()
        busy.result(60)

    def serve_many() -> None:
        for _ in range(100):
            serve_wsgi(app)

    began.acquire()
    go_on.acquire()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert rows_of(serve_many) == {("one", "s-1"): 100, ("two", "s-2"): 100}


class Kept:
    """What a job has in a variable."""


@pytest.mark.parametrize("fails", [False, True], ids=["ends", "fails"])
@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
def test_a_job_that_has_ended_is_not_beside(fails: bool, traced: bool) -> None:
    """What a job had is let go of when it ends, and what a later one sets holds, whatever keeps its error."""
    contexts: list[contextvars.Context] = []
    values: list[weakref.ref[Kept]] = []

    def work() -> None:
        value = Kept()
        values.append(weakref.ref(value))
        langfuse_manager.set_session("s-1")
        contexts.append(contextvars.copy_context())
        if fails:
            raise ValueError

    def traced_work() -> None:
        sys.settrace(lambda *_: None)
        try:
            contexts.pop().run(work)
        finally:
            sys.settrace(None)

    def app() -> None:
        contexts.append(contextvars.copy_context())
        done = one.submit(traced_work if traced else contexts.pop().run, *([] if traced else [work]))
        assert isinstance(done.exception(60), ValueError if fails else type(None))
        assert (values[0]() is None) is not fails
        two.submit(contextvars.copy_context().run, langfuse_manager.set_session, "s-2").result(60)
        record("after")

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert rows_of(lambda: serve_wsgi(app)) == {("after", "s-2"): 1}


@pytest.mark.parametrize("traces", ["before", "meanwhile"])
def test_threads_that_somebody_traces_are_apart(traces: str) -> None:
    """A debugger that traces a thread before it sets its session, or afterwards, mixes no sessions."""
    is_set, go_on = threading.Event(), threading.Event()

    def tracer(*_: Any) -> Any:
        lines.append(1)
        return tracer

    def work() -> None:
        if traces == "before":
            sys.settrace(tracer)
        try:
            langfuse_manager.set_session("s-1")
            if traces == "meanwhile":
                sys.settrace(tracer)
                sys._getframe().f_trace = tracer
            is_set.set()
            go_on.wait(60)
            record("one")
        finally:
            sys.settrace(None)

    def app() -> None:
        langfuse_manager.set_session("s-own")
        busy = one.submit(contextvars.copy_context().run, work)
        is_set.wait(60)
        two.submit(contextvars.copy_context().run, langfuse_manager.set_session, "s-2").result(60)
        record("own")
        go_on.set()
        busy.result(60)

    lines: list[int] = []
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert rows_of(lambda: serve_wsgi(app)) == {("one", "s-1"): 1, ("own", "s-own"): 1}
    assert lines


def test_threads_that_a_request_leaves_behind_are_apart() -> None:
    """A thread that gets the number of the one that served the request, which has ended, does not set its session."""
    gone, both = threading.Event(), threading.Barrier(2)
    idents: list[int] = []
    left: list[threading.Thread] = []

    def user(number: int) -> None:
        idents.append(threading.get_ident())
        both.wait(60)
        langfuse_manager.set_session(f"s-{number}")
        both.wait(60)
        record(f"user {number}")

    def background() -> None:
        gone.wait(60)
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(user, number)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        record("after")

    def app() -> None:
        langfuse_manager.set_session("s-own")
        left.append(threading.Thread(target=contextvars.copy_context().run, args=(background,)))
        left[0].start()

    def serve_and_leave() -> None:
        serving = threading.Thread(target=serve_wsgi, args=(app,))
        serving.start()
        served_by = serving.ident
        serving.join()
        gone.set()
        left.pop().join()
        again.append(served_by in idents)
        idents.clear()
        gone.clear()

    again: list[bool] = []
    rows = rows_of(lambda: [serve_and_leave() for _ in range(50)])
    assert rows == {("user 1", "s-1"): 50, ("user 2", "s-2"): 50, ("after", "s-own"): 50}
    assert any(again), "no number was used again: this test has shown nothing"

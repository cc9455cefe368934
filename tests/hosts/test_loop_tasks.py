"""One request or job that works for several users at once, each in a task of an event loop: no user gets another's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing.pool
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts import asgi, wsgi
from langfuse_integration.hosts.tasks import Task
from langfuse_integration.recording import tracing
from langfuse_integration.testing import recorded_sessions

USERS = range(6)
Rows = Counter[tuple[str, str | None]]


def record(name: str) -> None:
    """One row."""
    with langfuse_manager.trace_span(name):
        pass


async def serve(user: int, all_began: asyncio.Barrier, all_set: asyncio.Barrier) -> None:
    """Set the session of one user in a task, and record in it and in a thread."""
    record(f"before {user}")
    await all_began.wait()
    langfuse_manager.set_session(f"s-{user}", f"u-{user}")
    await all_set.wait()
    for _ in range(3):
        await asyncio.sleep(0.001 * (user % 3))
        record(f"row {user}")
        await asyncio.to_thread(record, f"row {user}")
        await asyncio.create_task(later(user))


async def later(user: int) -> None:
    """Record in a task of the user's task."""
    await asyncio.sleep(0)
    record(f"row {user}")


async def idle() -> None:
    """Record in a task for nobody."""
    for _ in range(8):
        await asyncio.sleep(0.001)
        record("nobody")


async def serve_all() -> None:
    """Serve all users at once, and nobody beside them."""
    barriers = asyncio.Barrier(len(USERS)), asyncio.Barrier(len(USERS))
    await asyncio.gather(*(serve(user, *barriers) for user in USERS), idle())


async def talk() -> None:
    """Set a session in a task, and another one."""
    langfuse_manager.set_session("s-first")
    langfuse_manager.set_session("s-talk")
    record("talk")


def work(own: str | None) -> None:
    """Serve all users from code without a loop, in the session *own*."""
    if own is not None:
        langfuse_manager.set_session(own)
    asyncio.run(serve_all())
    record("after")


def in_asgi(own: str | None) -> None:
    """Serve all users in a request of ASGI."""

    async def app(*_: Any) -> None:
        if own is not None:
            langfuse_manager.set_session(own)
        await serve_all()
        record("after")

    request = {"type": "http", "path": "/", "headers": []}
    asyncio.run(asgi.SessionMiddleware(app)(request, None, None))  # type: ignore[arg-type]


def in_wsgi(own: str | None, middleware: Callable[[Any], Any]) -> None:
    """Serve all users in a request of WSGI."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        work(environ["own"])
        start_response("200 OK", [])
        return []

    environ: dict[str, Any] = {"own": own}
    setup_testing_defaults(environ)
    middleware(app)(environ, lambda *_: None)


def in_task(own: str | None) -> None:
    """Serve all users in a task of a queue."""
    with Task():
        work(own)


def in_thread_pool(own: str | None) -> None:
    """Serve all users in a job of multiprocessing's pool of threads."""
    with multiprocessing.pool.ThreadPool(1) as pool:
        pool.apply(work, (own,))


def in_executor(own: str | None) -> None:
    """Serve all users in a job of an executor."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(work, own).result()


PLACES: dict[str, Callable[[str | None], None]] = {
    "asgi": in_asgi,
    "wsgi": lambda own: in_wsgi(own, wsgi.SessionMiddleware),
    "wsgi without the middleware": lambda own: in_wsgi(own, lambda app: app),
    "task": in_task,
    "thread pool": in_thread_pool,
    "executor": in_executor,
    "nowhere": work,
}


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    """A context and hosts as in a fresh process."""
    with tracing.store.unset():
        yield


def rows_of(place: Callable[[], object]) -> Rows:
    """Names and sessions of what is recorded."""
    with recorded_sessions() as recorded:
        place()
        return Counter((row.name, row.session_id) for row in recorded.observations)


@pytest.mark.parametrize("own", [None, "s-own"])
@pytest.mark.parametrize("place", PLACES)
def test_tasks_for_several_users_are_apart(place: str, own: str | None) -> None:
    """Each user's task is in its session, and so are its threads and tasks; what is around them keeps its own."""
    expected: Rows = Counter({("nobody", own): 8, ("after", own): 1})
    for user in USERS:
        expected[f"before {user}", own] = 1
        expected[f"row {user}", f"s-{user}"] = 9
    assert rows_of(lambda: PLACES[place](own)) == expected


def test_what_a_single_task_sets_holds_for_its_request() -> None:
    """A request whose code runs in a task within it, as below some middleware, takes what that task sets last."""

    async def app(*_: Any) -> None:
        await asyncio.create_task(talk())
        record("after")

    request = {"type": "http", "path": "/", "headers": []}
    assert rows_of(lambda: asyncio.run(asgi.SessionMiddleware(app)(request, None, None))) == {  # type: ignore[arg-type]
        ("talk", "s-talk"): 1,
        ("after", "s-talk"): 1,
    }


def test_threads_of_a_task_without_a_session_have_none() -> None:
    """A task that sets its session later has no other user's before, nor do its threads and its own tasks."""

    async def ahead(both: asyncio.Barrier) -> None:
        langfuse_manager.set_session("s-ahead")
        await both.wait()
        await both.wait()
        record("ahead")

    async def behind(both: asyncio.Barrier) -> None:
        await both.wait()
        record("before")
        await asyncio.to_thread(record, "before")
        await asyncio.create_task(asyncio.to_thread(record, "before"))
        langfuse_manager.set_session("s-behind")
        await both.wait()
        await asyncio.to_thread(record, "behind")

    async def app(*_: Any) -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(ahead(both), behind(both))
        record("after")

    request = {"type": "http", "path": "/", "headers": []}
    assert rows_of(lambda: asyncio.run(asgi.SessionMiddleware(app)(request, None, None))) == {  # type: ignore[arg-type]
        ("before", None): 3,
        ("ahead", "s-ahead"): 1,
        ("behind", "s-behind"): 1,
        ("after", None): 1,
    }


def test_a_request_sets_its_session_after_its_tasks() -> None:
    """What the request itself sets while its tasks run and after them holds, but not for tasks with a session."""

    async def app(*_: Any) -> None:
        all_began, all_set = asyncio.Barrier(2), asyncio.Barrier(3)
        users = [asyncio.create_task(serve(user, all_began, all_set)) for user in (1, 2)]
        while all_set.n_waiting < len(users):
            await asyncio.sleep(0)
        langfuse_manager.set_session("s-late")
        await asyncio.create_task(talk())
        record("after")
        await all_set.wait()
        await asyncio.gather(*users)

    request = {"type": "http", "path": "/", "headers": []}
    rows = rows_of(lambda: asyncio.run(asgi.SessionMiddleware(app)(request, None, None)))  # type: ignore[arg-type]
    assert rows == {
        **{(f"before {user}", None): 1 for user in (1, 2)},
        **{(f"row {user}", f"s-{user}"): 9 for user in (1, 2)},
        ("talk", "s-talk"): 1,
        ("after", "s-late"): 1,
    }

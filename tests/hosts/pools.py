"""Functions that pools run: a script that prints which session each of them begins with and has."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import multiprocessing
import multiprocessing.pool
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from langfuse_integration import langfuse_manager

USERS = ("ann", "", "bob", "", "")
Sessions = list[tuple[str | None, str | None]]


def job(user: str) -> tuple[str | None, str | None]:
    """Set the session, again when the user is known; return the session before and after."""
    before = langfuse_manager.current_session_id
    if user:
        langfuse_manager.set_session(f"s-{user}")
        langfuse_manager.set_session(f"s-{user}", user_id=user)
    return before, langfuse_manager.current_session_id


def of_executor(executor: concurrent.futures.Executor) -> Sessions:
    """Run each job of its own, then all of them by `map`."""
    with executor:
        return [*(executor.submit(job, user).result() for user in USERS), *executor.map(job, USERS)]


def of_pool(context: str) -> Sessions:
    """Run the jobs on a pool with one process."""
    with multiprocessing.get_context(context).Pool(1) as pool:
        return [*(pool.apply(job, (user,)) for user in USERS), *pool.imap(job, USERS)]


async def in_event_loop() -> Sessions:
    """Run the jobs on the threads of an event loop."""
    loop = asyncio.get_running_loop()
    sessions: Sessions = []
    for user in USERS:
        await asyncio.to_thread(job, user)  # in a copy of this context, which has a session
        sessions.append(await loop.run_in_executor(None, job, user))
    return sessions


def of_joblib(backend: str) -> Sessions:
    """Run the jobs on joblib's processes, one in a batch."""
    joblib: Any = import_module("joblib")
    done = joblib.Parallel(n_jobs=2, backend=backend, batch_size=1)(joblib.delayed(job)(user) for user in USERS)
    return list(done)


def of_pebble(kind: str) -> Sessions:
    """Run the jobs on a pool of Pebble with one thread or process."""
    pebble: Any = import_module("pebble")
    with getattr(pebble, kind)(max_workers=1) as pool:
        return [*(pool.schedule(job, args=(user,)).result() for user in USERS), *pool.map(job, USERS).result()]


class Actor:
    """An actor of Dask, which is everybody's."""

    def work(self, user: str) -> tuple[str | None, str | None]:
        """Run a job on the actor's thread."""
        return job(user)

    async def work_in_loop(self, user: str) -> tuple[str | None, str | None]:
        """Run a job in the worker's event loop."""
        await asyncio.sleep(0)
        return job(user)


def of_dask_actor(method: str) -> Sessions:
    """Run the jobs as methods of an actor, one call after the other."""
    distributed: Any = import_module("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        actor = client.submit(Actor, actor=True).result()
        return [tuple(getattr(actor, method)(user=user).result()) for user in USERS]


def of_thread_pool(initializer: Callable[[], object] | None = None) -> Sessions:
    """Run the jobs on the one thread of multiprocessing's pool of threads, where one may fail."""
    with multiprocessing.pool.ThreadPool(1, initializer) as pool:
        sessions = [pool.apply(job, (user,)) for user in USERS]
        with contextlib.suppress(ZeroDivisionError):
            pool.apply(fail)
        return [*sessions, *pool.imap(job, USERS)]


def of_thread_chunks() -> Sessions:
    """Run the jobs on a pool of threads, several in one go."""
    with multiprocessing.pool.ThreadPool(1) as pool:
        return list(pool.map(job, USERS, chunksize=5))


def fail() -> None:
    """Set a session, and raise."""
    langfuse_manager.set_session("s-failed")
    raise ZeroDivisionError


def of_initialised() -> Sessions:
    """Run the jobs on a thread that has a session of its own."""
    start = lambda: langfuse_manager.set_session("s-thread")  # noqa: E731
    return of_executor(concurrent.futures.ThreadPoolExecutor(1, initializer=start))


KINDS: dict[str, Callable[[], Sessions]] = {
    "threads": lambda: of_executor(concurrent.futures.ThreadPoolExecutor(1)),
    "threads with a session": of_initialised,
    "event loop": lambda: asyncio.run(in_event_loop()),
    "thread pool": of_thread_pool,
    "thread pool with a session": lambda: of_thread_pool(lambda: langfuse_manager.set_session("s-thread")),
    "thread pool in chunks": of_thread_chunks,
    **{
        f"{context} executor": lambda context=context: of_executor(  # type: ignore[misc]
            concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(context))
        )
        for context in ("fork", "spawn", "forkserver")
    },
    **{f"{context} pool": lambda context=context: of_pool(context) for context in ("fork", "spawn", "forkserver")},  # type: ignore[misc]
    "distributed actor": lambda: of_dask_actor("work"),
    "distributed coroutines of an actor": lambda: of_dask_actor("work_in_loop"),
    "pebble threads": lambda: of_pebble("ThreadPool"),
    "pebble processes": lambda: of_pebble("ProcessPool"),
    "joblib loky": lambda: of_joblib("loky"),
    "joblib multiprocessing": lambda: of_joblib("multiprocessing"),
}

if __name__ == "__main__":
    langfuse_manager.set_session("s-main")
    print(json.dumps(KINDS[sys.argv[1]]()))

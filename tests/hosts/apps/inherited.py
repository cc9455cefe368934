"""Pools and threads that one user's session starts and others use: prints whose session each piece of work is in.

Python before 3.14 has no threads that inherit contexts: with the argument `imitate` they are made to.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any


class _Inheriting:
    """The methods of a thread that runs in a copy of the context in which it is started, as in Python 3.14."""

    _bootstrap_inner = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
    start = threading.Thread.start
    make = threading.Thread.__init__


def imitate() -> None:
    """Have every thread inherit a context, or take the argument `context`."""

    def make(self: Any, *values: Any, context: contextvars.Context | None = None, **options: Any) -> None:
        self._context = context
        _Inheriting.make(self, *values, **options)

    def start(self: Any) -> None:
        self._context = contextvars.copy_context() if self._context is None else self._context
        _Inheriting.start(self)

    threads: Any = threading.Thread
    threads.__init__, threads.start = make, start
    threads._bootstrap_inner = lambda self: self._context.run(_Inheriting._bootstrap_inner, self)


if __name__ == "__main__":
    if "imitate" in sys.argv:
        imitate()
    from langchain_core.runnables import RunnableLambda

    from langfuse_integration import langfuse_manager
    from langfuse_integration_langchain import instrument

    if "imitate" in sys.argv:
        from langfuse_integration.hosts.inherited import separate_pools

        separate_pools()

    own: contextvars.ContextVar[str] = contextvars.ContextVar("own", default="nothing")
    """A variable of the application's."""
    instrument()

    class Held:
        """Something big that only the session's context holds."""

    def who() -> str:
        with langfuse_manager.trace_span("work") as span:
            return f"{langfuse_manager.current_session_id} {'root' if span.trace_id not in traces else 'below'}"

    async def who_async() -> str:
        return await asyncio.to_thread(who)

    def of_callback(pool: ThreadPool) -> str:
        said: Future[str] = Future()
        pool.apply_async(int, callback=lambda _: said.set_result(who()))
        return said.result(60)

    def in_thread(work: Callable[[], str]) -> str:
        said: Future[str] = Future()
        thread = threading.Thread(target=lambda: said.set_result(work()))
        thread.start()
        thread.join()
        return said.result(60)

    traces: set[str] = set()
    found: dict[str, Any] = {}

    def as_ann(_: object = None) -> tuple[ThreadPoolExecutor, ThreadPool, str]:
        """Start pools inside of a run, in a trace, in a session."""
        with langfuse_manager.trace_span("ann's") as span:
            traces.add(span.trace_id)
            executor, pool = ThreadPoolExecutor(1), ThreadPool(1)
            executor.submit(int).result()
            pool.apply(int)
            return executor, pool, in_thread(who)

    held: contextvars.ContextVar[Held | None] = contextvars.ContextVar("held", default=None)
    with langfuse_manager.session("ann"):
        token, own_token = held.set(Held()), own.set("ann's")
        kept: Any = weakref.ref(held.get())  # type: ignore[arg-type]
        executor, pool, found["ann's thread"] = RunnableLambda(as_ann).invoke(None)
        held.reset(token)
        own.reset(own_token)

    def chain() -> list[str]:
        return RunnableLambda(lambda _: who()).invoke(None)

    found["executor"] = executor.submit(who).result()
    found["pool"] = pool.apply(who)
    found["callback"] = of_callback(pool)
    found["loop in executor"] = executor.submit(lambda: asyncio.run(who_async())).result()
    found["chain in executor"] = executor.submit(chain).result()
    found["own variable"] = executor.submit(own.get).result()
    with langfuse_manager.session("bob"):
        found["bob's submit"] = executor.submit(who).result()
        found["bob's bound"] = executor.submit(langfuse_manager.bind(who)).result()
    executor.submit(lambda: langfuse_manager.set_session("eve")).result()
    found["after eve"] = executor.submit(who).result()

    async def of_loop() -> list[str]:
        loop = asyncio.get_running_loop()
        with langfuse_manager.session("ann"):
            await loop.run_in_executor(None, int)
        return [await loop.run_in_executor(None, who), await asyncio.create_task(who_async())]

    found["default executor"] = asyncio.run(of_loop())
    with contextlib.ExitStack() as stack:
        stack.callback(executor.shutdown)
        stack.callback(pool.terminate)
    print(json.dumps(found))
    del executor, pool
    found.clear()
    langfuse_manager.flush(30)
    print(json.dumps([thread.name for thread in threading.enumerate() if thread.name.startswith("langfuse")]))
    gc.collect()  # a free-threaded Python lets go of some objects only then
    print(json.dumps(kept() is None))

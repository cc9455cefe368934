"""A process with three busy threads that forks children, each of which makes one public call; prints what hung.

    python forking.py COUNT CALL...

The threads make the same calls all the time, from before the first child on, so that forks fall into our first imports.
A framework makes its call once before, untraced: what it imports itself is not ours.
"""

from __future__ import annotations

import contextlib
import functools
import sys

if sys.version_info < (3, 12):
    # Until 3.12 each cached_property has a lock, which stays held in a child: a fault of Python that hangs children
    # in pydantic and in the MCP SDK's server. Only our own locks are tested here.
    functools.RLock = contextlib.nullcontext  # type: ignore[attr-defined]

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing

HANGS_AFTER_S = 20
BACKLOG_LIMIT = 1_000
"""The busy threads wait for the worker then: without a bound, the process and each fork of it grow all the time."""


def _set_session() -> None:
    langfuse_manager.set_session(f"s-{threading.get_ident()}-{time.monotonic_ns()}", "user")


def _trace_span() -> None:
    with langfuse_manager.trace_span("step", input={"question": "?"}) as span:
        span.update(output="!")


def _flush() -> None:
    _trace_span()
    langfuse_manager.flush(10)


def _langchain() -> Callable[[], Any]:
    from langchain_core.runnables import RunnableLambda

    from langfuse_integration_langchain import SessionHandler
    from scripted_chat import ScriptedChat

    model = ScriptedChat("hello")
    chain = RunnableLambda(lambda _: model.invoke("hi"))
    chain.invoke("hi")
    return lambda: chain.invoke("hi", {"callbacks": [SessionHandler()]})


def _llamaindex() -> Callable[[], Any]:
    from llama_index.core.llms import MockLLM

    from langfuse_integration_llamaindex import instrument

    model = MockLLM()
    model.complete("hi")
    instrument()
    return lambda: model.complete("hi")


def _mcp() -> Callable[[], Any]:
    from langfuse_integration_mcp import instrument
    from peers.mcp_servers import memory_session

    async def call() -> None:
        async with memory_session() as session:
            await session.call_tool("add", {"a": 1, "b": 2})

    asyncio.run(call())
    instrument()
    return lambda: asyncio.run(call())


MAKERS: dict[str, Callable[[], Callable[[], Any]]] = {
    "set_session": lambda: _set_session,
    "trace_span": lambda: _trace_span,
    "flush": lambda: _flush,
    "langchain": _langchain,
    "llamaindex": _llamaindex,
    "mcp": _mcp,
}


def _keep_calling(call: Callable[[], Any], stop: threading.Event) -> None:
    while not stop.is_set():
        call()
        while len(tracing.recorder.queue) > BACKLOG_LIMIT and not stop.is_set():
            time.sleep(0.001)


def _status(call: Callable[[], Any]) -> int:
    """Fork a child that makes *call*, and return how it ended: 0, or not when it hung or failed."""
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(HANGS_AFTER_S)
            call()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def main(count: int, names: list[str]) -> None:
    """Fork *count* children in turn for the calls of these names, while threads make the same calls."""
    calls = {name: MAKERS[name]() for name in names}
    stop = threading.Event()
    busy = [calls[names[number % len(names)]] for number in range(3)]
    threads = [threading.Thread(target=_keep_calling, args=(call, stop), daemon=True) for call in busy]
    for thread in threads:
        thread.start()
    failed: Counter[str] = Counter()
    for number in range(count):
        name = names[number % len(names)]
        status = _status(calls[name])
        if status:
            failed[f"{name} {'hung' if status == signal.SIGALRM else 'failed'}"] += 1
        if failed.total() > 3:
            break
    stop.set()
    for thread in threads:
        thread.join(HANGS_AFTER_S)
    print(json.dumps(+failed))


if __name__ == "__main__":
    sys.setswitchinterval(1e-5)
    main(int(sys.argv[1]), sys.argv[2:])

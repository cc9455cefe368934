"""Threads and pools that carry the session along: for applications that start them in many places.

    from langfuse_integration.hosts.threads import instrument_threads

    instrument_threads()

Without it a plain thread is untagged, and `langfuse_manager.bind` or asyncio's `to_thread` carries the session into it.
opentelemetry-instrumentation-threading does the work: it takes OpenTelemetry's context into `Thread`, `Timer` and
`ThreadPoolExecutor`, so that parents go along too; we put the session's cell into that context while a thread is
started or a task submitted. What it does not reach: a subclass of `Thread` with a `run` of its own, and pools that do
without `ThreadPoolExecutor.submit`.

A thread that is started once and then works for everybody would carry its first user's session for life: start it
inside of `with langfuse_manager.detached()`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import MissingExtra
from ..internals import forks
from ..internals.faults import shielded
from ..recording import tracing
from ..sessions.cells import Cell

_KEY = "langfuse_integration.cell"
_CARRYING = shielded("carrying the session into a thread")
_STARTS = ((threading.Thread, "start"), (threading.Timer, "start"), (ThreadPoolExecutor, "submit"))
_lock = forks.Lock()
_own_instrumentor: Any = None
_instrumented = False


def instrument_threads() -> None:
    """Let threads, timers and thread pools carry the session of the code that starts them; twice is once.

    Raises:
        MissingExtra: opentelemetry-instrumentation-threading is not installed.
    """
    global _instrumented, _own_instrumentor
    try:
        from opentelemetry.instrumentation.threading import (  # pyright: ignore[reportMissingTypeStubs]
            ThreadingInstrumentor,
        )
        from wrapt import wrap_function_wrapper  # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        raise MissingExtra("opentelemetry-instrumentation-threading", "threads") from None
    with _lock:
        if _instrumented:
            return
        instrumentor: Any = ThreadingInstrumentor()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument()
            _own_instrumentor = instrumentor
        for owner, method in _STARTS:
            wrap_function_wrapper(owner, method, _with_cell)
        tracing.store.thread_cell = _carried
        _instrumented = True


def uninstrument_threads() -> None:
    """Stop carrying sessions into threads that start from now on."""
    global _instrumented, _own_instrumentor
    with _lock:
        if not _instrumented:
            return
        from opentelemetry.instrumentation.utils import unwrap

        for owner, method in _STARTS:
            unwrap(owner, method)
        if _own_instrumentor is not None:
            _own_instrumentor.uninstrument()
            _own_instrumentor = None
        tracing.store.thread_cell = None
        _instrumented = False


def _with_cell(wrapped: Callable[..., Any], owner: Any, positional: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Start a thread, or submit a task, while OpenTelemetry's context holds the current cell."""
    from ..recording.otel_api import detach, get_context, set_context

    token = None
    with _CARRYING:
        cell = tracing.store.cell()
        context = get_context()
        if cell is not context.get(_KEY):
            token = set_context(type(context)({**context, _KEY: cell}))
    try:
        return wrapped(*positional, **options)
    finally:
        if token is not None:
            detach(token)


def _carried() -> Cell | None:
    from ..recording.otel_api import get_context

    found = get_context().get(_KEY)
    return found if isinstance(found, Cell) else None

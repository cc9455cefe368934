"""AWS Lambda, and other functions that are frozen after each call: what an invocation recorded is delivered in it.

    @flushed
    def handler(event, context):
        langfuse_manager.set_session(event["chat"])
        ...

An invocation begins with no session, whatever the one before it in the same environment had set.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from ..internals.faults import shielded
from ..recording import tracing
from .tasks import Task

P = ParamSpec("P")
R = TypeVar("R")

TIMEOUT_S = 2.0
PATIENCE_S = 0.5
"""How long an invocation waits for a Langfuse that does not answer."""
RESERVE_S = 0.3
"""What is left of an invocation's time for its answer."""
_FLUSHING = shielded("delivering at the end of an invocation")


@overload
def flushed(handler: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def flushed(*, timeout_s: float = TIMEOUT_S) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def flushed(handler: Callable[..., Any] | None = None, /, *, timeout_s: float = TIMEOUT_S) -> Any:
    """Return *handler*, each call of which begins with no session, and ends when its rows are delivered.

    What cannot be delivered waits in the journal for the next invocation. A handler that raises is flushed, too, and so
    is a coroutine function.

    Args:
        timeout_s: how long an answer waits at most; less if the invocation's time is nearly over.
    """
    if handler is None:
        return functools.partial(flushed, timeout_s=timeout_s)
    if inspect.iscoroutinefunction(handler):
        return _asynchronous(cast("Callable[..., Awaitable[Any]]", handler), timeout_s)

    @functools.wraps(handler)
    def invoke(*values: Any, **options: Any) -> Any:
        try:
            with Task():
                return handler(*values, **options)
        finally:
            _flush(timeout_s, values)

    return invoke


def _asynchronous(handler: Callable[..., Awaitable[Any]], timeout_s: float) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(handler)
    async def invoke(*values: Any, **options: Any) -> Any:
        try:
            with Task():
                return await handler(*values, **options)
        finally:
            await asyncio.to_thread(_flush, timeout_s, values)

    return invoke


def _flush(timeout_s: float, values: tuple[Any, ...]) -> None:
    """Deliver within *timeout_s* seconds, and within the time that is left to an invocation with these arguments."""
    with _FLUSHING:
        remaining = getattr(values[1], "get_remaining_time_in_millis", None) if len(values) > 1 else None
        if remaining is not None:
            timeout_s = min(timeout_s, remaining() / 1000 - RESERVE_S)
        tracing.recorder.flush_while_it_helps(max(timeout_s, 0.0), PATIENCE_S)

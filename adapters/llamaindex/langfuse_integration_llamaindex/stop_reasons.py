"""Stop reasons that reach no event of LlamaIndex: Bedrock streams one, and LlamaIndex's client drops it.

The client's two functions that ask Bedrock are wrapped from the first call of a Bedrock model on, until recording
stops. What they return is passed on piece by piece.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from langfuse_integration.internals.faults import shielded

from . import private

MARK = "messageStop"
"""The piece of a stream that tells why it stops (Bedrock's ConverseStream)."""
_WRAPPING = shielded("wrapping LlamaIndex's client of Bedrock")
_FINDING = shielded("finding the model call that asks Bedrock")


class Stopping(Protocol):
    """A model call that keeps the piece which tells why its stream stops."""

    stop: Any


def follow(call_of: Callable[[str | None], Stopping | None]) -> None:
    """Note from here on why the streams of Bedrock stop; a second call has no effect.

    Args:
        call_of: returns the model call of an active span, or None.
    """
    if _wrapped:
        return
    with _WRAPPING:
        for module, name in private.bedrock_requests():
            function = getattr(module, name)
            make = _asks_async if inspect.iscoroutinefunction(function) else _asks
            wrapper = make(function, call_of)
            setattr(module, name, wrapper)
            _wrapped.append((module, name, function, wrapper))


def unfollow() -> None:
    """Undo `follow`."""
    with _WRAPPING:
        while _wrapped:
            module, name, function, wrapper = _wrapped.pop()
            if getattr(module, name, None) is wrapper:
                setattr(module, name, function)


_wrapped: list[tuple[Any, str, Any, Any]] = []
"""Module, name, and the function before and after."""


def _asks(function: Callable[..., Any], call_of: Callable[[str | None], Stopping | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def ask(*positional: Any, **named: Any) -> Any:
        response = function(*positional, **named)
        with _FINDING:
            call = call_of(private.active_span_id.get())
            if call is not None and "stream" in response:
                return {**response, "stream": _pieces(response["stream"], call)}
        return response

    return ask


def _asks_async(function: Callable[..., Any], call_of: Callable[[str | None], Stopping | None]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def ask(*positional: Any, **named: Any) -> Any:
        response = await function(*positional, **named)
        with _FINDING:
            call = call_of(private.active_span_id.get())
            if call is not None and isinstance(response, AsyncIterator):
                return _pieces_async(response, call)
        return response

    return ask


def _pieces(stream: Any, call: Stopping) -> Iterator[Any]:
    for piece in stream:
        if type(piece) is dict and MARK in piece:
            call.stop = piece
        yield piece


async def _pieces_async(stream: AsyncIterator[Any], call: Stopping) -> AsyncIterator[Any]:
    async for piece in stream:
        if type(piece) is dict and MARK in piece:
            call.stop = piece
        yield piece

"""Streamed answers of queries: the query's row stays open until the answer is read, and holds what reading starts."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import Context, copy_context
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from langfuse_integration.internals.context_variables import reset_quietly
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import ambient, tracing
from langfuse_integration.recording.registry import Run
from langfuse_integration.sessions.session import Session

from . import rows
from .places import outside
from .private import active_span_id

_ENDING = shielded("ending a streamed answer")
_ABANDONED = shielded("ending a streamed answer that nobody read")
RESPONSES = {
    "StreamingResponse": ("response_gen",),
    "AsyncStreamingResponse": ("response_gen",),
    "StreamingAgentChatResponse": ("chat_stream", "achat_stream"),
}
"""The attributes of a response that hold the generator which callers read."""

_END: Any = object()


class StreamedResponse:
    """The rows that a streamed answer keeps open: a synthesiser's, and those of the query engines around it."""

    __slots__ = ("__weakref__", "pieces", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.pieces: list[Any] = []

    def end(self, finish: Callable[..., Any] = rows.finish, *arguments: Any) -> None:
        """End the rows, the innermost first, with the text that was read."""
        runs, self.runs = self.runs, []
        text = "".join(map(_text, self.pieces)) if self.pieces else None
        for run in runs:
            if finish is not rows.finish:
                rows.cancel_below(run)
            finish(run.key, *arguments, text)

    def abandon(self) -> None:
        """End the rows as cancelled."""
        with _ABANDONED:
            self.end(rows.cancel)


GENERATORS = (GeneratorType, AsyncGeneratorType)
_streamed_responses: weakref.WeakKeyDictionary[Any, StreamedResponse] = weakref.WeakKeyDictionary()


def is_streamed(result: Any) -> bool:
    """Return whether a query or a turn returned an answer whose stream its caller still has to read."""
    return type(result).__name__ in RESPONSES and _read_from(result) is not None


def keep_open(run: Run, response: Any) -> None:
    """Keep *run* open until *response* is read, and record what reading starts below it.

    A generator of ours replaces the one in the response that the caller gets.
    """
    name = _read_from(response)
    if name is None:
        return
    generator = getattr(response, name)
    streamed = _streamed_responses.get(generator) if isinstance(generator, GENERATORS) else None
    if streamed is None:
        streamed = StreamedResponse()
        both = isinstance(generator, Iterator) and isinstance(generator, AsyncIterator)  # OpenInference's
        read_async = _is_async(response, name) if both else isinstance(generator, AsyncIterator)
        ours = _wrapped(generator, streamed, run, read_async=read_async)
        setattr(response, name, ours)
        _streamed_responses[ours] = streamed
        weakref.finalize(ours, streamed.abandon)
    streamed.runs.append(run)


def _read_from(response: Any) -> str | None:
    """Return the attribute with the generator that the caller reads; None without one, or when a task reads it."""
    if getattr(response, "is_writing_to_memory", False):
        return None
    names = RESPONSES[type(response).__name__]
    return next((name for name in names if getattr(response, name, None) is not None), None)


def _text(piece: Any) -> str:
    """Return the text of a piece: queries yield texts, turns yield the model's responses."""
    return (piece.delta or "") if hasattr(piece, "delta") else str(piece)


def _is_async(response: Any, name: str) -> bool:
    return name == "achat_stream" or type(response).__name__.startswith("Async")


def _wrapped(generator: Any, streamed: StreamedResponse, run: Run, *, read_async: bool) -> Any:
    if read_async:
        return _read_async(generator, streamed, str(run.key), run.observation.origin)
    return _read(iter(generator), streamed, copy_context())


def _read(inner: Iterator[Any], streamed: StreamedResponse, caller: Context) -> Generator[Any, None, None]:
    """Yield the pieces of *inner*, each made in the context of the query's caller."""
    try:
        while True:
            piece = caller.run(next, inner, _END)
            if piece is _END:
                break
            streamed.pieces.append(piece)
            yield piece
    except GeneratorExit:
        _close(inner, caller)
        with _ENDING:
            streamed.end(rows.cancel)
        raise
    except BaseException as error:
        with _ENDING:
            streamed.end(rows.fail, error)
        raise
    with _ENDING:
        streamed.end()


def _close(inner: Any, caller: Context) -> None:
    close = getattr(inner, "close", None)
    if close is not None:
        caller.run(close)


async def _read_async(
    inner: AsyncIterator[Any], streamed: StreamedResponse, id_: str, origin: Session | None
) -> AsyncGenerator[Any, None]:
    """Yield the pieces of *inner*; while a piece is made, the session and span of the query's caller are active."""
    try:
        while True:
            span, reader = active_span_id.set(id_), outside.set(ambient.current_span())
            try:
                with tracing.store.scoped(origin, sealed=True):
                    piece = await anext(inner, _END)
            finally:
                reset_quietly(outside, reader)
                reset_quietly(active_span_id, span)
            if piece is _END:
                break
            streamed.pieces.append(piece)
            yield piece
    except GeneratorExit:
        close = getattr(inner, "aclose", None)
        if close is not None:
            await close()
        with _ENDING:
            streamed.end(rows.cancel)
        raise
    except BaseException as error:
        with _ENDING:
            streamed.end(rows.fail, error)
        raise
    with _ENDING:
        streamed.end()

"""Answers of queries that are read later: the query stays open until they are, and what they start stays inside."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import Context, copy_context
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run
from langfuse_integration.sessions.session import Session

from . import rows
from .private import active_span_id

_ENDING = shielded("ending a streamed answer")
_ABANDONED = shielded("ending a streamed answer that nobody read")
RESPONSES = {
    "StreamingResponse": ("response_gen",),
    "AsyncStreamingResponse": ("response_gen",),
    "StreamingAgentChatResponse": ("chat_stream", "achat_stream"),
}
"""Where answers have what their readers read."""

_END: Any = object()


class Streamed:
    """The rows that a streamed answer keeps open: a synthesiser's, and those of the query engines around it."""

    __slots__ = ("__weakref__", "pieces", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.pieces: list[Any] = []

    def end(self, finish: Callable[..., Any] = rows.finish, *arguments: Any) -> None:
        """End the rows, the innermost first, with all that was read."""
        runs, self.runs = self.runs, []
        text = "".join(map(_text, self.pieces)) if self.pieces else None
        for run in runs:
            if finish is not rows.finish:
                rows.cancel_below(run)
            finish(run.key, *arguments, text)

    def abandon(self) -> None:
        """End them as cancelled."""
        with _ABANDONED:
            self.end(rows.cancel)


GENERATORS = (GeneratorType, AsyncGeneratorType)
_known: weakref.WeakKeyDictionary[Any, Streamed] = weakref.WeakKeyDictionary()


def is_streamed(result: Any) -> bool:
    """Return whether a query or a turn returned an answer that its caller still has to read off the model."""
    return type(result).__name__ in RESPONSES and _read_from(result) is not None


def keep_open(run: Run, response: Any) -> None:
    """Keep *run* open until *response* has been read, and make what that starts a part of it.

    The generator is replaced by one of ours in the response itself, which is what the caller gets.
    """
    name = _read_from(response)
    if name is None:
        return
    generator = getattr(response, name)
    streamed = _known.get(generator) if isinstance(generator, GENERATORS) else None
    if streamed is None:
        streamed = Streamed()
        ours = _wrapped(generator, streamed, run)
        setattr(response, name, ours)
        _known[ours] = streamed
        weakref.finalize(ours, streamed.abandon)
    streamed.runs.append(run)


def _read_from(response: Any) -> str | None:
    """Return where the response has what its caller will read; None when a background task reads it, or nothing."""
    if getattr(response, "is_writing_to_memory", False):
        return None
    names = RESPONSES[type(response).__name__]
    return next((name for name in names if getattr(response, name, None) is not None), None)


def _text(piece: Any) -> str:
    """Return the text of a piece: a query's answer comes in texts, a turn's in the model's own pieces."""
    return (piece.delta or "") if hasattr(piece, "delta") else str(piece)


def _wrapped(generator: Any, streamed: Streamed, run: Run) -> Any:
    if isinstance(generator, AsyncIterator):
        return _read_async(generator, streamed, str(run.key), run.observation.origin)
    return _read(iter(generator), streamed, copy_context())


def _read(inner: Iterator[Any], streamed: Streamed, asker: Context) -> Generator[Any, None, None]:
    """Yield what *inner* yields, each piece made in the context of the one who asked."""
    try:
        while True:
            piece = asker.run(next, inner, _END)
            if piece is _END:
                break
            streamed.pieces.append(piece)
            yield piece
    except GeneratorExit:
        _close(inner, asker)
        with _ENDING:
            streamed.end(rows.cancel)
        raise
    except BaseException as error:
        with _ENDING:
            streamed.end(rows.fail, error)
        raise
    with _ENDING:
        streamed.end()


def _close(inner: Any, asker: Context) -> None:
    close = getattr(inner, "close", None)
    if close is not None:
        asker.run(close)


async def _read_async(
    inner: AsyncIterator[Any], streamed: Streamed, id_: str, origin: Session | None
) -> AsyncGenerator[Any, None]:
    """Yield what *inner* yields; while a piece is made, the asker's session and span are the active ones."""
    try:
        while True:
            span, session = active_span_id.set(id_), tracing.store.scoped(origin)
            try:
                with session:
                    piece = await anext(inner, _END)
            finally:
                active_span_id.reset(span)
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

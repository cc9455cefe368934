"""Answers of queries that are read later: the query stays open until they are, and what they start stays inside."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextvars import Context, copy_context
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from langfuse_integration import tracing
from langfuse_integration.registry import Run
from langfuse_integration.session import Session
from langfuse_integration.shield import shielded

from . import rows
from .private import active_span_id

_ENDING = shielded("ending a streamed answer")
_ABANDONED = shielded("ending a streamed answer that nobody read")
RESPONSES = ("StreamingResponse", "AsyncStreamingResponse")

_END: Any = object()


class Streamed:
    """The rows that a streamed answer keeps open: a synthesiser's, and those of the query engines around it."""

    __slots__ = ("__weakref__", "pieces", "runs")

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.pieces: list[str] = []

    def end(self, finish: Callable[..., Any] = rows.finish, *arguments: Any) -> None:
        """End the rows, the innermost first, with all that was read."""
        runs, self.runs = self.runs, []
        text = "".join(map(str, self.pieces)) if self.pieces else None
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
    """Return whether a query returned an answer that is still to be read."""
    return type(result).__name__ in RESPONSES and getattr(result, "response_gen", None) is not None


def keep_open(run: Run, response: Any) -> None:
    """Keep *run* open until *response* has been read, and make what that starts a part of it.

    The generator is replaced by one of ours in the response itself, which is what the caller gets.
    """
    generator = response.response_gen
    streamed = _known.get(generator) if isinstance(generator, GENERATORS) else None
    if streamed is None:
        streamed = Streamed()
        response.response_gen = ours = _wrapped(generator, streamed, run)
        _known[ours] = streamed
        weakref.finalize(ours, streamed.abandon)
    streamed.runs.append(run)


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

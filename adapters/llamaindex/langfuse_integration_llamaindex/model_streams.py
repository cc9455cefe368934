"""Open streams of model calls: notices one that is collected unread, and the calls that reading one starts."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.tracing import registry

from .private import callers, frame_of

_ENDING_UNUSED = shielded("ending a stream that nobody read")
STREAMS_LIMIT = 10_000
FRAMES = 60
"""How many frames up the stack `being_read` looks."""


def is_stream(result: Any) -> bool:
    """Return whether a call returned something to iterate over, sync or async."""
    return isinstance(result, (Iterator, AsyncIterator))


class StreamWatch:
    """Watches the stream that a model call returned.

    Args:
        run: the row of the call.
        stream: the stream.
        gone: called with *run* when the stream is collected before `stop`.
    """

    __slots__ = ("_finalizer", "_key", "_stream", "run")

    def __init__(self, run: Run, stream: Any, gone: Callable[[Run], None]) -> None:
        self.run = run
        self._key = 0
        self._finalizer: Any = None
        try:
            self._stream: Callable[[], Any] = weakref.ref(stream)
            self._finalizer = weakref.finalize(stream, _shielded, gone, run)
        except TypeError:  # an iterator of the application's own that takes no weak references: its events end it
            return
        frame = frame_of(stream)
        if frame is not None and len(open_streams) < STREAMS_LIMIT:
            self._key = id(frame)
            open_streams[self._key] = self

    def reads_in(self, frame: Any) -> bool:
        """Return whether *frame* is the stream's own, and its row is still open: identities are used again."""
        return frame_of(self._stream()) is frame and registry.get(self.run.key) is self.run

    def stop(self) -> None:
        """Stop watching the stream."""
        if self._finalizer is not None:
            self._finalizer.detach()
        if open_streams.get(self._key) is self:
            open_streams.pop(self._key, None)


open_streams: dict[int, StreamWatch] = {}
"""By the identity of the stream's frame."""


def being_read() -> Run | None:
    """Return the row of the model call whose stream is being read on this very stack, or None.

    Async streams of many models begin a sync one when they are first read, in the context of the reader, where the
    call's span is not active.
    """
    for frame in callers(FRAMES):
        watch = open_streams.get(id(frame))
        if watch is not None and watch.reads_in(frame):
            return watch.run
    return None


def _shielded(gone: Callable[[Run], None], run: Run) -> None:
    with _ENDING_UNUSED:
        gone(run)

"""The event stream that sends `changed` after each write to the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

LOOK_EVERY_S = 0.5
QUIET_S = 15.0
"""Seconds without a change after which a comment is sent, to detect closed connections."""
LISTENERS_LIMIT = 50


class Changes:
    """The ASGI application of the stream; at most LISTENERS_LIMIT pages listen at once."""

    def __init__(self, journal: Path | None) -> None:
        self._journal = journal
        self.listeners = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the stream."""
        request = Request(scope, receive)
        answer = (
            StreamingResponse(self._changes(request), media_type="text/event-stream")
            if self.listeners < LISTENERS_LIMIT
            else Response(status_code=503)
        )
        await answer(scope, receive, send)

    async def _changes(self, request: Request) -> AsyncIterator[str]:
        self.listeners += 1
        seen, quiet_s = None, 0.0
        try:
            while not await request.is_disconnected():
                now = _look(self._journal)
                if seen is None:
                    yield "retry: 2000\n: listening\n\n"
                elif now != seen:
                    yield "event: changed\ndata: 1\n\n"
                elif quiet_s >= QUIET_S:
                    yield ": still listening\n\n"
                    quiet_s = 0.0
                seen = now
                await asyncio.sleep(LOOK_EVERY_S)
                quiet_s += LOOK_EVERY_S
        finally:
            self.listeners -= 1


def _look(journal: Path | None) -> tuple[tuple[int, int], ...]:
    """Return values that change with each write: times and sizes of the file and of its log."""
    if journal is None:
        return ()
    state: list[tuple[int, int]] = []
    for path in (journal, journal.with_name(journal.name + "-wal")):
        try:
            stat = path.stat()
            state.append((stat.st_mtime_ns, stat.st_size))
        except OSError:
            state.append((0, 0))
    return tuple(state)

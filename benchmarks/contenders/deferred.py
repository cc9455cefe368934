"""A minimal deferred tracer: callbacks store references, and a thread builds the floor's spans from them.

The contender shows the lowest cost of deferred recording, which this package is built on. It is no complete tracer: it
copies no mutable values, tracks no sessions, and loses its data with the process.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from random import getrandbits
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from ..contender import Terms
from .engine import Hooked
from .floor import AT_END, at_start, exporter

BATCH = 512


class Note:
    """The data of a span that is not built yet."""

    __slots__ = ("above", "ended_ns", "given", "kind", "name", "outcome", "session", "span", "started_ns", "trace")

    name: str
    kind: str
    session: str
    trace: int
    span: int
    above: int
    given: Any
    outcome: Any
    started_ns: int
    ended_ns: int


class Notes:
    """An engine that stores notes and builds spans in a thread."""

    def __init__(self, terms: Terms) -> None:
        self._exporter = exporter(terms)
        self._resource = Resource.create()
        self._ended: deque[Note] = deque()
        self._enough = threading.Event()
        self._building = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def start(self, name: str, kind: str, above: Note | None, given: Any, session: str) -> Note:
        """Note a start."""
        note = Note()
        note.name, note.kind, note.session, note.given = name, kind, session, given
        note.span = getrandbits(64)
        if above is None:
            note.trace, note.above = getrandbits(128), 0
        else:
            note.trace, note.above = above.trace, above.span
        note.started_ns = time.time_ns()
        return note

    def end(self, span: Note, outcome: Any) -> None:
        """Note an end."""
        span.ended_ns = time.time_ns()
        span.outcome = outcome
        self._ended.append(span)
        if len(self._ended) == BATCH:
            self._enough.set()

    def deliver(self) -> None:
        """Build and export the spans of all notes."""
        with self._building:
            while self._ended:
                most = min(BATCH, len(self._ended))
                self._exporter.export([self._built(self._ended.popleft()) for _ in range(most)])

    def delivered(self) -> int | None:
        """Return how many were discarded."""
        return getattr(self._exporter, "count", None)

    def _run(self) -> None:
        while True:
            self._enough.wait(1.0)
            self._enough.clear()
            self.deliver()

    def _built(self, note: Note) -> ReadableSpan:
        sampled = TraceFlags(TraceFlags.SAMPLED)
        return ReadableSpan(
            note.name,
            SpanContext(note.trace, note.span, False, sampled),
            SpanContext(note.trace, note.above, False, sampled) if note.above else None,
            self._resource,
            {**at_start(note.name, note.kind, note.session), **AT_END},
            start_time=note.started_ns,
            end_time=note.ended_ns,
        )


class Deferred(Hooked):
    """The minimal deferred tracer behind each framework's hook."""

    def __init__(self) -> None:
        super().__init__(Notes)

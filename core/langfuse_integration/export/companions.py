"""Companions: spans of other libraries that Langfuse does not take, in traces that hold rows of ours.

A destination gets them along with the rows, so that its trees are whole. The trace of a web request may begin long
before the first row in it: until one comes, its spans are held, and dropped when too many are.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..encoding.row import Row
from ..internals.bounded import BoundedDict

TRACES = 1_000
"""Traces with rows of ours that are remembered, and traces whose spans are held."""
SPANS = 200
"""Spans of one trace that are held."""


class Companions:
    """Sorts spans by whether their trace holds a row. For the worker's thread."""

    def __init__(self) -> None:
        self._traces: BoundedDict[str, bool] = BoundedDict(TRACES)
        self._held: BoundedDict[str, list[Row]] = BoundedDict(TRACES)

    def joined_by(self, rows: Iterable[Row]) -> list[Row]:
        """Note rows; return the spans that were held until one of their trace came."""
        released: list[Row] = []
        for row in rows:
            if row.trace_id not in self._traces:
                self._traces[row.trace_id] = True
                released += self._held.pop(row.trace_id, ())
        return released

    def of(self, spans: Iterable[Row]) -> list[Row]:
        """Return those spans whose trace holds a row, and hold the others."""
        ready: list[Row] = []
        for span in spans:
            if span.trace_id in self._traces:
                ready.append(span)
                continue
            held = self._held.get(span.trace_id)
            if held is None:
                held = self._held[span.trace_id] = []
            if len(held) < SPANS:
                held.append(span)
        return ready

"""What Langfuse's SDK takes for the current span where that span is elsewhere in Langfuse, or not there at all.

Where the application exports to a back end of its own, its spans stay below its spans there. In Langfuse, those that
it takes stand below the run around them, and the others are not there.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace as trace_api

from ..recording.anchor import Parent
from ..recording.observation import Observation
from ..recording.otel_api import span_context
from ..recording.otel_spans import SpanAnchor, captures


class MovedSpan:
    """An open span with the ids that it has in Langfuse.

    Args:
        anchor: of the span.
    """

    def __init__(self, span: trace_api.Span, anchor: SpanAnchor) -> None:
        self._span = span
        self._context = span_context(anchor.trace, anchor.span)
        captures[self] = anchor  # type: ignore[index]  # a virtual subclass

    def get_span_context(self) -> trace_api.SpanContext:
        """Return the ids in Langfuse."""
        return self._context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


trace_api.Span.register(MovedSpan)


def as_langfuse_sees(span: Any, anchor: Parent) -> Any:
    """Return what Langfuse's SDK is to take for the current span: the row that *span* is, or that it stands for.

    Args:
        anchor: of the span.
    """
    ids = span.get_span_context()
    if (ids.trace_id, ids.span_id) == (anchor.trace, anchor.span) or not isinstance(anchor, SpanAnchor):
        return span
    if ids.span_id == anchor.span:
        return MovedSpan(span, anchor)
    return anchor.row or trace_api.NonRecordingSpan(span_context(anchor.trace, anchor.span))


def row_of(parent: Parent, above: trace_api.Span) -> trace_api.Span | None:
    """Return the open span behind *parent*, if it is known.

    Args:
        above: OpenTelemetry's parent of the span whose row is looked for.
    """
    if isinstance(parent, Observation):
        return parent
    if captures.get(above) is parent:
        return parent.row or above if isinstance(parent, SpanAnchor) else None
    return None

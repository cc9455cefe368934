"""Ended spans that are elsewhere in Langfuse than in OpenTelemetry, for the exporter of a customised client."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan

from ..recording.otel_api import span_context
from ..recording.otel_spans import row_places


def moved(span: ReadableSpan) -> ReadableSpan:
    """Return an ended span as Langfuse is to have it: with the trace and the parent that it has there."""
    context = span.get_span_context()
    place = row_places.get(context.span_id) if context is not None else None
    if context is None or place is None:
        return span
    trace, parent = place
    return ReadableSpan(
        name=span.name,
        context=span_context(trace, context.span_id),
        parent=span_context(trace, parent) if parent else None,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
    )

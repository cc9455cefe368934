"""The floor: a bare span of OpenTelemetry's SDK with 12 small attributes for every event, without its content.

No tracer that starts and ends SDK spans on the application's thread can cost less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import set_span_in_context

from ..contender import USER, Terms
from .engine import Hooked

AT_END: dict[str, str | int] = {"status": "done", "tokens.in": 20, "tokens.out": 5, "tokens.total": 25}


def at_start(name: str, kind: str, session: str) -> dict[str, Any]:
    """Return the 8 attributes that a span starts with; `AT_END` are the other 4."""
    return {
        "session": session,
        "user": USER,
        "kind": kind,
        "title": name,
        "level": "DEFAULT",
        "environment": "test",
        "release": "1",
        "library": "floor",
    }


class Discarding(SpanExporter):
    """Counts spans and discards them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count a batch."""
        self.count += len(spans)
        return SpanExportResult.SUCCESS


def exporter(terms: Terms) -> SpanExporter:
    """Return the exporter for these terms."""
    if terms.delivery == "discard":
        return Discarding()
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(f"{terms.address}/v1/traces", compression=Compression.Gzip)


def provider(terms: Terms) -> tuple[TracerProvider, SpanExporter]:
    """Return a provider that exports on these terms, in batches."""
    out = exporter(terms)
    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(out))
    return made, out


class Spans:
    """An engine of SDK spans."""

    def __init__(self, terms: Terms) -> None:
        self._provider, self._exporter = provider(terms)
        self._tracer = self._provider.get_tracer("floor")

    def start(self, name: str, kind: str, above: Any, given: Any, session: str) -> Any:
        """Start a span; children find their context with it."""
        span = self._tracer.start_span(name, above[1] if above else None, attributes=at_start(name, kind, session))
        return span, set_span_in_context(span)

    def end(self, span: tuple[Span, Any], outcome: Any) -> None:
        """Set the end attributes and end the span."""
        span[0].set_attributes(AT_END)
        span[0].end()

    def deliver(self) -> None:
        """Export."""
        self._provider.force_flush()

    def delivered(self) -> int | None:
        """Return how many were discarded."""
        return getattr(self._exporter, "count", None)


class Floor(Hooked):
    """The floor of every framework."""

    def __init__(self) -> None:
        super().__init__(Spans)

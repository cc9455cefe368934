"""The run whose code is running here: what LangChain keeps for its own children.

With it `@observe`, `trace_span` and spans of other libraries inside of tools and nodes find their place, also in async
ones and in threads that LangChain starts, with nothing attached to any context.
"""

from __future__ import annotations

from langfuse_integration.recording import otel_spans, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.registry import Run

from . import private
from .folding import use


def source() -> Parent | None:
    """Return what to stand under here, for `ambient`."""
    key = private.current_run_key()
    if key is None:
        return None
    run = tracing.registry.get(key)
    if run is None:
        return tracing.registry.footprint(key)
    use(run)
    return run.anchor


def span_inside(parent: Run) -> Parent | None:
    """Return the span that the code of *parent* has opened around this line, or None.

    It has to be of the run's trace and younger than what the run stands for, and the code of that very run has to be
    running: who consumes a stream may have spans open that are no part of it.
    """
    span = otel_spans.current_span()
    if span is None or span.trace != parent.anchor.trace or span.started_ns < parent.anchor.started_ns:
        return None
    return span if private.current_run_key() == parent.key else None

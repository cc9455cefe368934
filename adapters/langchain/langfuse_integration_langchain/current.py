"""The run whose code runs here, from the variable that LangChain keeps for the children of a run.

`@observe`, `trace_span` and spans of other libraries stand below it inside of tools and nodes, sync or async and in
threads that LangChain starts; nothing is attached to any context.
"""

from __future__ import annotations

from langfuse_integration.recording import model_calls, otel_spans, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run

from . import private
from .folding import use


def source() -> Parent | None:
    """Return the anchor of the run around this line, for `ambient`."""
    key = private.current_run_key()
    if key is None:
        return None
    run = tracing.registry.get(key)
    if run is None:
        return tracing.registry.footprint(key)
    use(run)
    return run.anchor


def model_call() -> Observation | None:
    """Return the open generation of the model whose code is running here, for `model_calls`."""
    key = private.current_model_key()
    run = tracing.registry.get(key) if key is not None else None
    if run is None or run.folded or run.observation.type not in model_calls.TYPES:
        return None
    return run.observation


def span_inside(parent: Run) -> Parent | None:
    """Return the span that the code of *parent* has opened around this line, or None.

    The span has to be in the run's trace and younger than the run's anchor, and the code of that very run has to be
    running: a consumer of a stream may have spans open that are no part of the run.
    """
    span = otel_spans.current_span()
    if span is None or span.trace != parent.anchor.trace or span.started_ns < parent.anchor.started_ns:
        return None
    return span if private.current_run_key() == parent.key else None

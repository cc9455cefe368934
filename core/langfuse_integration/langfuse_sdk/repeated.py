"""Foreign spans that duplicate a row of ours: they are dropped, so that tokens and cost count once.

Three kinds: what another handler of LangChain's callbacks makes of a run that our handler records as well (Langfuse's
own, OpenInference's, Traceloop's); spans of an instrumentor of the whole framework; and the span that a model's client
makes below the generation that an adapter records (`langfuse.openai`, the anthropic SDK, OpenInference).
The third kind is recorded after all where only that span has the call's usage: in a model class of the user's.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from types import FrameType
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span

from ..encoding.attributes import TYPE, USAGE
from ..internals.bounded import BoundedDict
from ..recording import model_calls, otel_spans, tracing
from ..recording.observation import Observation
from . import second_tracers
from .second_tracers import CALLBACKS, LANGFUSE_OPENAI, SCOPES, SecondTracer

OPERATIONS = ("chat", "text_completion", "generate_content", "embeddings")
USAGE_PREFIXES = (USAGE, "gen_ai.usage.", "llm.token_count.", "llm.usage.")
OPEN_LIMIT = 10_000
_DEPTH = 40

_runs: BoundedDict[int, tuple[Hashable, SecondTracer]] = BoundedDict(OPEN_LIMIT)
"""Key of the run, and the tracer, for spans of other handlers, by span id."""
_outer: BoundedDict[int, Observation] = BoundedDict(OPEN_LIMIT)
"""The generation of ours above a span, by the span's id."""


def note(span: Span) -> bool:
    """Note which row a starting span may duplicate; return whether it may."""
    span_id = span.get_span_context().span_id
    if not CALLBACKS.keys().isdisjoint(sys.modules):
        run = _run_of_another_handler()
        if run is not None:
            _runs[span_id] = run
            return True
    scope = span.instrumentation_scope
    if scope is not None and scope.name == "langfuse-sdk" and "langfuse.openai" not in sys.modules:
        return False  # @observe and the client's own spans
    outer = model_calls.current()
    if outer is None:
        return False
    _outer[span_id] = outer
    return True


def run_of(span: Span) -> Hashable | None:
    """Return the key of the run for which another handler made *span*, or None."""
    run_key, _ = _runs.get(span.get_span_context().span_id) or (None, None)
    return run_key


def gives_way(span: ReadableSpan) -> bool:
    """Return whether an ended span duplicates a row of ours."""
    context = span.get_span_context()
    if context is None:
        return False
    scope = span.instrumentation_scope
    if scope is not None and scope.name in otel_spans.duplicate_scopes:
        if scope.name in SCOPES:
            second_tracers.meet(SCOPES[scope.name], "runs of LangChain")
        return True  # also in a customised client
    run = _runs.get(context.span_id)
    if run is not None:
        run_key, tracer = run
        if tracing.registry.get(run_key) is None and tracing.registry.footprint(run_key) is None:
            return False
        second_tracers.meet(tracer, "runs of LangChain")
        return True
    outer = _outer.get(context.span_id)
    return outer is not None and _is_model_call(span)


def forget(span: ReadableSpan, exported: bool) -> None:
    """Drop the notes about an ended span.

    Args:
        exported: record it later if it turns out to repeat nothing.
    """
    context = span.get_span_context()
    if context is None:
        return
    _runs.pop(context.span_id, None)
    outer = _outer.pop(context.span_id, None)
    if exported and outer is not None and _is_model_call(span):
        if span.instrumentation_scope is not None and span.instrumentation_scope.name == "langfuse-sdk":
            second_tracers.meet(LANGFUSE_OPENAI, "model calls")
        if not isinstance(outer.late, _Decision):
            outer.late = _Decision(outer.late)
        outer.late.spans.append(span)


class _Decision:
    """Completes a generation's row as before, and records the spans below it that have the usage it lacks.

    Attributes:
        spans: those that repeat the generation.
    """

    def __init__(self, before: Any) -> None:
        self._before = before
        self.spans: list[ReadableSpan] = []

    def __call__(self, observation: Observation) -> None:
        if self._before is not None:
            self._before(observation)
        if observation.ended_ns and self.spans:
            spans, self.spans = self.spans, []
            if not observation.usage_details:
                for span in filter(_has_usage, spans):
                    tracing.recorder.record(span)


def _is_model_call(span: ReadableSpan) -> bool:
    attributes: Any = span.attributes or {}
    return (
        attributes.get(TYPE) in model_calls.TYPES
        or attributes.get("gen_ai.operation.name") in OPERATIONS
        or "gen_ai.request.model" in attributes
        or attributes.get("openinference.span.kind") in ("LLM", "EMBEDDING")
    )


def _has_usage(span: ReadableSpan) -> bool:
    return any(key.startswith(USAGE_PREFIXES) for key in span.attributes or ())


def _run_of_another_handler() -> tuple[Hashable, SecondTracer] | None:
    """Return the key of the run for which another handler makes a span here, and that handler; None without one."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(_DEPTH):
        if frame is None:
            return None
        tracer = CALLBACKS.get(frame.f_globals.get("__name__", ""))
        if tracer is not None:
            run_id = frame.f_locals.get("run_id") or getattr(frame.f_locals.get("run"), "id", None)
            if run_id is not None:
                return getattr(run_id, "int", run_id), tracer
        frame = frame.f_back
    return None

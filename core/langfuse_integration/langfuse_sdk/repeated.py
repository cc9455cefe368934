"""Foreign spans that duplicate a row of ours: they are dropped, so that tokens and cost count once.

Two kinds: what Langfuse's own LangChain handler makes of a run that our handler records as well, and the span that a
model's client makes below the generation that an adapter records (`langfuse.openai`, the anthropic SDK, OpenInference).
The second kind is recorded after all where that generation has no usage of its own: in a model class of the user's.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from types import FrameType
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span

from ..encoding.attributes import TYPE
from ..internals.bounded import BoundedDict
from ..internals.faults import warn_once
from ..recording import model_calls, tracing
from ..recording.observation import Observation

CALLBACK_HANDLER = "langfuse.langchain.CallbackHandler"
"""The module of Langfuse's own LangChain handler; its callbacks have the run's id as `run_id` (langfuse 4.7 to 5.0)."""
OTHER_TRACERS = {
    "openinference.instrumentation.langchain": "OpenInference's LangChainInstrumentor",
    "opentelemetry.instrumentation.langchain": "Traceloop's LangchainInstrumentor",
}
"""Instrumentation of LangChain by the scope of its spans; that of LlamaIndex is known to its adapter."""
OPERATIONS = ("chat", "text_completion", "generate_content", "embeddings")
OPEN_LIMIT = 10_000
_DEPTH = 40

_runs: BoundedDict[int, Hashable] = BoundedDict(OPEN_LIMIT)
"""Keys of the runs for spans of Langfuse's handler, by span id."""
_outer: BoundedDict[int, Observation] = BoundedDict(OPEN_LIMIT)
"""The generation of ours above a span, by the span's id."""


def note(span: Span) -> bool:
    """Note which row a starting span may duplicate; return whether it may."""
    span_id = span.get_span_context().span_id
    if CALLBACK_HANDLER in sys.modules:
        run_id = _run_of_their_handler()
        if run_id is not None:
            _runs[span_id] = run_id
            return True
    scope = span.instrumentation_scope
    if scope is not None and scope.name == "langfuse-sdk" and "langfuse.openai" not in sys.modules:
        return False  # @observe and the client's own spans
    if scope is not None and scope.name in OTHER_TRACERS and len(tracing.registry):
        warn_once(
            f"two tracers {scope.name}",
            "%s sends its spans to Langfuse beside this package's LangChain handler, so that everything is there "
            "twice. Call its uninstrument(), or give it a tracer provider of its own",
            OTHER_TRACERS[scope.name],
        )
    outer = model_calls.current()
    if outer is None:
        return False
    _outer[span_id] = outer
    return True


def run_of(span: Span) -> Hashable | None:
    """Return the key of the run for which Langfuse's handler made *span*, or None."""
    return _runs.get(span.get_span_context().span_id)


def gives_way(span: ReadableSpan) -> bool:
    """Return whether an ended span duplicates a row of ours."""
    context = span.get_span_context()
    if context is None:
        return False
    run_id = _runs.get(context.span_id)
    if run_id is not None:
        if tracing.registry.get(run_id) is None and tracing.registry.footprint(run_id) is None:
            return False
        warn_once(
            "two LangChain handlers",
            "Langfuse's CallbackHandler and this package's handler record the same LangChain run: this package's rows "
            "are kept. Remove CallbackHandler() from the run's callbacks",
        )
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
            warn_once(
                "langfuse.openai",
                "langfuse.openai records the model calls that %r records as well: this package's rows are kept. "
                "Import openai instead of langfuse.openai",
                outer.name,
            )
        if not isinstance(outer.late, _Decision):
            outer.late = _Decision(outer.late)
        outer.late.spans.append(span)


class _Decision:
    """Completes a generation's row as before, and records the spans below it if it has no usage.

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
                for span in spans:
                    tracing.recorder.record(span)


def _is_model_call(span: ReadableSpan) -> bool:
    attributes: Any = span.attributes or {}
    return (
        attributes.get(TYPE) in model_calls.TYPES
        or attributes.get("gen_ai.operation.name") in OPERATIONS
        or "gen_ai.request.model" in attributes
        or attributes.get("openinference.span.kind") in ("LLM", "EMBEDDING")
    )


def _run_of_their_handler() -> Hashable | None:
    """Return the id of the run for which Langfuse's handler makes a span here, or None when it does not."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(_DEPTH):
        if frame is None:
            return None
        if frame.f_globals.get("__name__") == CALLBACK_HANDLER and "run_id" in frame.f_locals:
            run_id = frame.f_locals["run_id"]
            key: Hashable = getattr(run_id, "int", run_id)
            return key
        frame = frame.f_back
    return None

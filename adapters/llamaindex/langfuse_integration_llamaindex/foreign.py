"""Other instrumentation of LlamaIndex: keeps it working, and its spans out of our trees."""

from __future__ import annotations

from typing import Any

from langfuse_integration.internals.faults import shielded

from .private import ROOT, tracer_of

_LOOKING = shielded("looking for other instrumentation of LlamaIndex")

OTHERS = (
    ("openinference.", "OpenInference's LlamaIndexInstrumentor", "openinference.instrumentation.llama_index"),
    ("opentelemetry.", "Traceloop's LlamaIndexInstrumentor", "opentelemetry.instrumentation.llamaindex"),
    ("llama_index.observability.", "LlamaIndexOpenTelemetry", "llamaindex.opentelemetry.tracer"),
)
"""The beginning of a handler's module, the name of its instrumentor, and the scope of its spans."""
LANGFUSE_PROCESSORS = frozenset(("LangfuseSpanProcessor", "Stamp", "SuppressedClientProcessor", "_StampLast"))

OURS = ("langfuse_integration", "llama_index_instrumentation.", "llama_index.core.instrumentation.")

_seen: list[int] = []
last: Any = None
"""A span handler of ours that comes after those of others, as long as there are any; see `spans.LastSpanHandler`."""
others_present = False
"""Whether others have span handlers beside ours."""


def start(last_handler: Any) -> None:
    """Check the handlers anew, and keep *last_handler* behind those of others."""
    global last
    last = last_handler
    _seen.clear()
    look()


def stop() -> None:
    """Let the spans of others go to Langfuse again."""
    global last
    last = None
    _seen.clear()
    from langfuse_integration.recording import otel_spans

    otel_spans.duplicate_scopes.difference_update(scope for _, _, scope in OTHERS)


def look() -> None:
    """Check the handlers beside ours, if they have changed.

    Their spans give way in Langfuse. A warning is logged once where they would reach it.
    """
    handlers = ROOT.span_handlers
    if list(map(id, handlers)) == _seen:
        return
    with _LOOKING:
        _place_last(handlers)
        _seen[:] = map(id, handlers)
        for handler in handlers:
            for module, name, scope in OTHERS:
                if type(handler).__module__.startswith(module):
                    _meet(handler, name, scope)


def _place_last(handlers: list[Any]) -> None:
    global others_present
    others_present = any(not type(handler).__module__.startswith(OURS) for handler in handlers)
    if last is not None:
        handlers[:] = [handler for handler in handlers if handler is not last] + [last] * others_present


def _meet(handler: Any, name: str, scope: str) -> None:
    from langfuse_integration.recording import otel_spans

    otel_spans.duplicate_scopes.add(scope)
    if _reaches_langfuse(tracer_of(handler)):
        from langfuse_integration.langfuse_sdk import second_tracers

        tracer = second_tracers.SecondTracer(name, second_tracers.INSTRUMENTOR_CURE)
        second_tracers.meet(tracer, "runs of LlamaIndex")


def _reaches_langfuse(tracer: Any) -> bool:
    """Return whether a tracer's spans reach Langfuse, through our provider or one with Langfuse's processor."""
    from langfuse_integration.langfuse_sdk.provider import AmbientTracer

    if isinstance(tracer, AmbientTracer):
        return True
    processors = [getattr(tracer, "span_processor", None)]
    while processors:
        processor = processors.pop()
        if type(processor).__name__ in LANGFUSE_PROCESSORS:
            return True
        processors.extend(getattr(processor, "_span_processors", ()))
    return False

"""Tracers of others that record the same steps as an adapter: their spans do not go to Langfuse a second time."""

from __future__ import annotations

from typing import NamedTuple

from ..internals.faults import warn_once
from ..internals.resets import on_reset


class SecondTracer(NamedTuple):
    """A tracer of others, and how to do without it."""

    name: str
    cure: str


INSTRUMENTOR_CURE = "Call its uninstrument(), or give it a tracer provider that does not lead to Langfuse"
LANGFUSE_OPENAI = SecondTracer("langfuse.openai", "Import openai instead of langfuse.openai")
CALLBACKS = {
    "langfuse.langchain.CallbackHandler": SecondTracer(
        "Langfuse's CallbackHandler", "Remove CallbackHandler() from the run's callbacks"
    ),
    "openinference.instrumentation.langchain._tracer": SecondTracer(
        "OpenInference's LangChainInstrumentor", INSTRUMENTOR_CURE
    ),
    "opentelemetry.instrumentation.langchain.callback_handler": SecondTracer(
        "Traceloop's LangchainInstrumentor", INSTRUMENTOR_CURE
    ),
}
"""Handlers of LangChain's callbacks, by module. A frame there has the run's id in `run_id`, or the run in `run`
(langfuse 4.7 to 5.0, openinference-instrumentation-langchain 0.1.80, opentelemetry-instrumentation-langchain 0.62)."""
SCOPES = {
    "openinference.instrumentation.langchain": CALLBACKS["openinference.instrumentation.langchain._tracer"],
    "opentelemetry.instrumentation.langchain": CALLBACKS["opentelemetry.instrumentation.langchain.callback_handler"],
}
"""Instrumentors of LangChain by the scope of their spans: some spans are made outside of callbacks."""

seen: dict[str, SecondTracer] = {}
"""The tracers whose spans gave way in this process, by name."""


def meet(tracer: SecondTracer, what: str) -> None:
    """Note that spans of *tracer* give way, and warn of it once.

    Args:
        what: what both record.
    """
    if tracer.name not in seen:
        seen[tracer.name] = tracer
        warn_once(
            f"second tracer {tracer.name}",
            "%s and this package record the same %s: this package's rows are kept in Langfuse. %s",
            tracer.name,
            what,
            tracer.cure,
        )


on_reset(seen.clear)

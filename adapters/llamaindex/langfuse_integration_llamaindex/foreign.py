"""Other instrumentation of LlamaIndex that would send the same to Langfuse again."""

from __future__ import annotations

from typing import Any

from langfuse_integration.shield import warn_once

OTHERS = {
    "openinference": "OpenInference's LlamaIndexInstrumentor",
    "traceloop": "Traceloop's LlamaIndexInstrumentor",
    "opentelemetry": "OpenTelemetry's LlamaIndexInstrumentor",
    "llama_index_observability_otel": "LlamaIndexOpenTelemetry",
}
"""By the first name of the module that a handler comes from."""


def warn(dispatcher: Any) -> None:
    """Say once which other handlers of *dispatcher* make spans of their own: theirs would come to Langfuse as well."""
    for handler in (*dispatcher.span_handlers, *dispatcher.event_handlers):
        other = OTHERS.get(type(handler).__module__.partition(".")[0])
        if other is not None:
            warn_once(
                "llamaindex-others",
                "%s is attached to LlamaIndex as well: if its spans go to Langfuse, everything is there twice. "
                "Its uninstrument() leaves the observations of langfuse-integration alone.",
                other,
            )

"""An OpenTelemetry provider whose spans find their place by themselves.

Its tracers ask `ambient.current()` when a span starts without an explicit context, so that `@observe`,
`langfuse.openai` and spans of other libraries nest under the framework's run around them, with nothing attached and
nothing to detach. A processor stamps session and user on them. The SDK is loaded when the first span starts, not
before.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context

from ..internals import forks
from ..internals.faults import shielded
from ..recording import ambient
from ..recording.observation import Observation
from ..recording.otel_spans import current_span
from ..settings import settings
from . import sdk_clients

_PLACING = shielded("placing a span of another library")
_MAKING = shielded("making a Langfuse client for the local journal")


class AmbientTracer(trace_api.Tracer):
    """A tracer that looks its spans' parents up."""

    def __init__(self, provider: AmbientProvider, scope: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._provider = provider
        self._scope = scope
        self._options = options
        self._tracer: trace_api.Tracer | None = None

    def start_span(self, name: str, context: Context | None = None, *positional: Any, **options: Any) -> trace_api.Span:
        """Start a span; without *context*, under what is current here."""
        tracer = self._tracer
        if tracer is None:
            tracer = self._tracer = self._provider.sdk().get_tracer(*self._scope, **self._options)
        return tracer.start_span(name, placed(context), *positional, **options)

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # the API's decorator has a type of its own
        self,
        name: str,
        context: Context | None = None,
        kind: trace_api.SpanKind = trace_api.SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Generator[trace_api.Span]:
        """Start a span and make it current within the block."""
        span = self.start_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        )
        with trace_api.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span


def placed(context: Context | None) -> Context | None:
    """Return the context for a span that starts here: as given, or with the ambient parent in it."""
    if context is not None:
        return context
    with _PLACING:
        parent = ambient.current()
        if parent is None or parent is current_span():
            return None
        if isinstance(parent, Observation):
            return trace_api.set_span_in_context(parent)
        from ..recording.otel_api import span_context

        return trace_api.set_span_in_context(trace_api.NonRecordingSpan(span_context(parent.trace, parent.span)))
    return None


class AmbientProvider(trace_api.TracerProvider):
    """A TracerProvider that is cheap to have: the SDK's stands behind it once a span is wanted."""

    def __init__(self) -> None:
        self._lock = forks.Lock(reentrant=True)
        self._sdk: Any = None

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> trace_api.Tracer:
        """Return a tracer that looks its spans' parents up."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url)
        return AmbientTracer(self, scope, {"attributes": attributes} if attributes else {})

    def sdk(self) -> Any:
        """Return the SDK's provider behind this one, made when first wanted."""
        with self._lock:
            if self._sdk is None:
                from .processor import sdk_provider

                self._sdk = sdk_provider(self)
            return self._sdk

    def add_span_processor(self, span_processor: Any) -> None:
        """Add a processor, as to the SDK's provider; that of a plain Langfuse client is kept from exporting twice."""
        if type(span_processor).__name__ == "LangfuseSpanProcessor":
            from .processor import SuppressedClientProcessor

            sdk_clients.give_way(span_processor.public_key)
            span_processor = SuppressedClientProcessor(span_processor, self)
        self.sdk().add_span_processor(span_processor)

    def processor_of(self, client: Any) -> Any:
        """Return the span processor of a Langfuse client, which may export from another provider; or None."""
        exporting_from: Any = getattr(client, "tracer_provider", None)
        active = getattr(self.sdk() if exporting_from is self else exporting_from, "_active_span_processor", None)
        for processor in getattr(active, "_span_processors", ()):
            inner = getattr(processor, "inner", processor)
            if type(inner).__name__ == "LangfuseSpanProcessor" and inner.public_key == client.public_key:
                return inner
        return None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.sdk(), name)


provider = AmbientProvider()


def register() -> None:
    """Be the global provider if nobody is, as the Langfuse SDK would; else add our processor to the one there."""
    existing: Any = trace_api.get_tracer_provider()
    if isinstance(existing, trace_api.ProxyTracerProvider):
        trace_api.set_tracer_provider(provider)
    elif existing is not provider and hasattr(existing, "add_span_processor"):
        from .processor import Stamp

        existing.add_span_processor(Stamp(existing, provider))


def record_locally() -> None:
    """Without keys and without a client, make one that leads nowhere: else `@observe` would record nothing."""
    with _MAKING:
        if settings().mode != "local" or sdk_clients.instances() or trace_api.get_tracer_provider() is not provider:
            return
        from langfuse import Langfuse

        on_ours: Any = provider  # the SDK asks for its own class, and uses add_span_processor and get_tracer
        Langfuse(
            public_key=sdk_clients.LOCAL_PUBLIC_KEY,
            secret_key="sk-lf-local",
            base_url=sdk_clients.NO_ADDRESS,
            tracer_provider=on_ours,
            sample_rate=1.0,  # the SDK raises where LANGFUSE_SAMPLE_RATE is no number; our delivery samples
        )

"""An OpenTelemetry provider whose spans find their place by themselves.

Its tracers ask `ambient.current()` when a span starts without an explicit context, so that `@observe`,
`langfuse.openai` and spans of other libraries nest under the framework's run around them, with nothing attached and
nothing to detach. A processor stamps session and user on them. The SDK behind it is built ahead where something is
loaded that makes spans, else with the first span, but never in an event loop; a span that cannot wait for it records
nothing, and its children stand under its parent.

More than 300 lines: provider, tracer and their adoption refer to each other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context
from typing_extensions import override

from ..internals import forks
from ..internals.event_loops import in_event_loop
from ..internals.faults import shielded
from ..recording import ambient, tracing
from ..recording.observation import Observation
from ..recording.otel_api import span_context
from ..recording.otel_spans import SpanAnchor, captures, current_span
from ..settings import settings
from . import ambient_context, client_settings, private, sdk_clients
from .scores import take_scores

SPAN_MAKERS = ("langfuse", "mcp", "anthropic", "openinference.instrumentation", "opentelemetry.instrumentation")
"""Modules that create spans; the SDK is built when one is loaded."""
WANTED_SCOPES = ("langfuse-sdk", "openinference.", "opentelemetry.instrumentation.")
"""Scopes whose spans Langfuse may want: they wait until the SDK is built, in an event loop too."""

_PLACING = shielded("placing a span of another library")
_MAKING = shielded("making a Langfuse client for the local journal")
_BUILDING = shielded("building OpenTelemetry's SDK")
_ADOPTING = shielded("adopting a tracer provider")


class AmbientTracer(trace_api.Tracer):
    """A tracer whose spans find their parents."""

    def __init__(self, provider: AmbientProvider, scope: tuple[Any, ...], options: dict[str, Any]) -> None:
        self._provider = provider
        self._scope = scope
        self._options = options
        self._tracer: trace_api.Tracer | None = None
        self._sdk: Any = None

    def start_span(self, name: str, context: Context | None = None, *positional: Any, **options: Any) -> trace_api.Span:
        """Start a span; without *context*, below the current observation."""
        tracer = self._tracer
        if tracer is None or self._sdk is not self._provider.behind:
            self._sdk = sdk = self._provider.built(must_wait=self._is_wanted(positional, options))
            if sdk is None:
                return unrecorded(context)
            if not tracing.recorder.prepared:
                tracing.recorder.prepare()
            self._tracer = tracer = sdk.get_tracer(*self._scope, **self._options)
        return tracer.start_span(name, placed(context), *positional, **options)

    def _is_wanted(self, positional: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if self._scope[0].startswith(WANTED_SCOPES):
            return True
        attributes = positional[1] if len(positional) > 1 else options.get("attributes")
        return any(key.startswith("gen_ai.") for key in attributes or ())

    @contextmanager
    @override
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
            kind=kind,
            attributes=attributes,
            links=links,
            start_time=start_time,
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
        span = current_span()
        parent = ambient.current(span)
        if parent is None or parent is span:
            return None
        if isinstance(parent, Observation):
            return trace_api.set_span_in_context(parent)
        return trace_api.set_span_in_context(trace_api.NonRecordingSpan(span_context(parent.trace, parent.span)))
    return None


def unrecorded(context: Context | None) -> trace_api.Span:
    """Return a span that records nothing and stands for its parent: what starts below it is the parent's."""
    parent = ambient.current() if context is None else None
    if parent is None:
        above = trace_api.get_current_span(context)
        return trace_api.NonRecordingSpan(above.get_span_context())
    span = trace_api.NonRecordingSpan(span_context(parent.trace, parent.span))
    captures[span] = anchor = SpanAnchor(
        parent.trace, parent.span, (parent.session, parent.origin), parent.started_ns, parent.exported
    )
    anchor.root = parent.root if isinstance(parent, SpanAnchor) else None
    anchor.repeats = anchor.above = anchor.row = None
    anchor.companion = parent.companion
    return span


class AmbientProvider(trace_api.TracerProvider):
    """A lightweight TracerProvider that delegates to the SDK's, which is built for the first span.

    Attributes:
        behind: the SDK's provider that makes the spans, or None before it is built. When the application registers a
            provider of its own, it is that one.
    """

    def __init__(self) -> None:
        self._lock = forks.Lock()
        self.behind: Any = None
        self._failed = self._building = False
        forks.in_child(self._forget_thread)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> trace_api.Tracer:
        """Return a tracer whose spans find their parents."""
        scope = (instrumenting_module_name, instrumenting_library_version, schema_url)
        return AmbientTracer(self, scope, {"attributes": attributes} if attributes else {})

    def sdk(self) -> Any:
        """Return the SDK's provider behind this one, built on first use."""
        with self._lock:
            if self.behind is None:
                from .adoption import adopt
                from .processor import sdk_provider

                built = sdk_provider()
                adopt(self, built, self)
                self.behind = built
            return self.behind

    def built(self, *, must_wait: bool) -> Any:
        """Return the SDK's provider; None if it cannot be built, or while it is being built beside an event loop.

        Args:
            must_wait: the span may not be missed, so that an event loop waits, too.
        """
        if self.behind is None and not self._failed:
            if must_wait or not in_event_loop():
                self._build()
            else:
                self.build_soon()
        return self.behind

    def build_soon(self) -> None:
        """Build the SDK's provider on a thread of its own."""
        with self._lock:
            if self._building or self._failed or self.behind is not None:
                return
            self._building = True
        try:
            threading.Thread(target=self._build, name="langfuse-integration-otel", daemon=True).start()
        except RuntimeError:  # no thread can be started: the next span that may wait builds it
            self._building = False

    def _build(self) -> None:
        with _BUILDING:
            try:
                self.sdk()
            except BaseException:
                self._failed = True
                raise
            finally:
                self._building = False

    def _forget_thread(self) -> None:
        self._building = False

    def add_span_processor(self, span_processor: Any) -> None:
        """Add a processor, as to the SDK's provider; that of a plain Langfuse client is kept from exporting twice."""
        self.sdk().add_span_processor(span_processor)

    def processor_of(self, client: Any) -> Any:
        """Return the span processor of a Langfuse client, which may export from another provider; or None."""
        exporting_from: Any = getattr(client, "tracer_provider", None)
        for processor in private.processors_of(self.behind if exporting_from is self else exporting_from):
            inner = getattr(processor, "inner", processor)
            if private.is_client_processor(inner) and inner.public_key == client.public_key:
                return inner
        return None

    def replaced(self) -> None:
        """Adopt the provider that the application has just registered in place of this one, and make spans there."""
        with _ADOPTING:
            from .adoption import adopt

            application: Any = trace_api.get_tracer_provider()
            if not hasattr(application, "add_span_processor"):
                return
            adopt(application, application, self)
            clients = [each for each in private.processors_of(self.behind) if hasattr(each, "inner")]
            for processor in clients:
                application.add_span_processor(processor)
            self.behind = application

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.sdk(), name)


provider = AmbientProvider()


def register() -> None:
    """Register as the global provider if there is none, as the Langfuse SDK does; else add our processor to it."""
    existing: Any = trace_api.get_tracer_provider()
    if isinstance(existing, trace_api.ProxyTracerProvider):
        private.be_global(provider, provider.replaced)
        if any(module in sys.modules for module in SPAN_MAKERS):
            provider.build_soon()
    elif existing is not provider and hasattr(existing, "add_span_processor"):
        from .adoption import adopt  # loads OpenTelemetry's SDK, which is loaded by now

        adopt(existing, existing, provider)
    ambient_context.install(_looks_for_runs)


def read_by_others() -> bool:
    """Return whether a back end of the application reads the spans of the global provider."""
    registered = trace_api.get_tracer_provider()
    sdk = provider.behind if registered is provider else registered
    if not hasattr(sdk, "add_span_processor"):
        return False
    from .adoption import is_private

    return not is_private(sdk)


def adopt_client(client: Any) -> None:
    """Adopt the provider that a Langfuse client exports from."""
    with _ADOPTING:
        from .adoption import adopt

        sdk_clients.give_way(client.public_key)
        if client.public_key in sdk_clients.applications():
            client_settings.take_settings()
        take_scores(client, provider)
        exporting_from = getattr(client, "tracer_provider", None)
        if exporting_from is not None and exporting_from is not provider:
            adopt(exporting_from, exporting_from, provider)


def adopt_clients() -> None:
    """Adopt the providers of all Langfuse clients, existing and future."""
    private.watch_clients(adopt_client)
    for client in sdk_clients.instances().values():
        adopt_client(client)


def _looks_for_runs() -> bool:
    """Return whether the current span is to be looked up here.

    Where the application has tracing of its own, its spans stay where they are: then only Langfuse's SDK finds runs.
    """
    registered = trace_api.get_tracer_provider()
    if registered is provider:
        return True
    from .adoption import is_private

    return is_private(registered) or ambient_context.langfuse_asks()


def record_locally() -> None:
    """Without keys and without a client, make one without a server: else `@observe` would record nothing."""
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
        local = sdk_clients.instances()[sdk_clients.LOCAL_PUBLIC_KEY]
        private.disconnect(local)
        take_scores(local, provider)

"""The processor of foreign spans: stamps the session on them, notes them as parents, records them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from ..encoding.attributes import ENVIRONMENT, IS_APP_ROOT, TRACE_TAGS, span_attributes
from ..internals.faults import shielded
from ..internals.loaded import loaded
from ..recording import ambient, otel_spans, tracing
from ..recording.anchor import Parent, companion_parents
from ..recording.observation import Observation
from ..recording.otel_spans import DUPLICATE, SpanAnchor, captures, parent_of, row_places
from ..sessions.session import Session
from ..settings import Settings, settings
from . import repeated, sdk_clients
from .client_settings import SDK_TIMEOUT_S
from .moved import moved
from .stand_ins import row_of

LANGFUSE_SCOPE = "langfuse-sdk"

_STAMPING = shielded("stamping a span of another library")
_TAKING = shielded("taking a span of another library along")


def sdk_provider() -> TracerProvider:
    """Return an SDK provider that is not shut down at exit: the recorder has an end of its own."""
    return TracerProvider(shutdown_on_exit=False)


class Stamp(SpanProcessor):
    """Stamps spans at their start, and records them at their end.

    Args:
        provider: where it is added: when a Langfuse client exports from there, taking along is left to that client.
        ours: our own tracer provider.
    """

    def __init__(self, provider: object, ours: object) -> None:
        self._provider = provider
        self._ours = ours

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Add the session to the span: its own takes precedence, then the parent's, then the active one."""
        with _STAMPING:
            context = parent_context if parent_context is not None else context_api.get_current()
            above = trace_api.get_current_span(context)
            parent = None
            # Only the span's library knows a parent with another id.
            if span.parent is not None and above.get_span_context().span_id == span.parent.span_id:
                parent = parent_of(above, context)
            if parent_context is None and self._provider is not self._ours:
                parent = ambient.current(parent)  # the provider is not ours: OpenTelemetry knows of no run
            repeats = wanted(span) and repeated.note(span)
            exported = self._stamp(span, parent, above)
            if repeats:
                anchor = captures[span]
                anchor.started_ns = 0  # a run of ours around this line takes precedence over it
                anchor.repeats, anchor.above = repeated.run_of(span), parent
            elif exported and _sampled(span) and not self._left_to_a_client(span):
                tracing.recorder.opened(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Record the span if Langfuse takes such spans."""
        with _TAKING:
            exported = _sampled(span) and wanted(span)
            repeats = repeated.gives_way(span)
            if exported and not repeats and not self._left_to_a_client(span):
                tracing.recorder.record(span)
            elif not exported and tracing.recorder.has_destinations and _accompanies(span):
                tracing.recorder.accompany(span)
            repeated.forget(span, exported)

    def shutdown(self) -> None:
        """The provider's end ends nothing here: the recorder delivers at the exit of the process."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver within the time given; True when nothing is pending.

        At the end of the process it waits no longer than the recorder's own end does, and in an outage no longer than
        the exporter of Langfuse's SDK.
        """
        if not threading.main_thread().is_alive():
            tracing.recorder.exit()
        else:
            tracing.recorder.flush_while_it_helps(timeout_millis / 1000, SDK_TIMEOUT_S)
        return tracing.recorder.result().pending == 0

    def _left_to_a_client(self, span: ReadableSpan) -> bool:
        return sdk_clients.exports(span, self._provider, self._ours)

    @staticmethod
    def _stamp(span: Span, parent: Parent | None, above: trace_api.Span) -> bool:
        """Stamp a span, and return whether it will be exported."""
        attributes = span.attributes or {}
        session, origin = tracing.store.resolve(parent)
        stamp = {} if session is None else _stamp_of(session, attributes)
        exported = wanted(span)
        if span.parent is not None and exported:
            stamp[IS_APP_ROOT] = parent is None or not parent.exported or _in_another_project(span, parent)
            if not stamp[IS_APP_ROOT] and IS_APP_ROOT not in attributes:
                del stamp[IS_APP_ROOT]
        span.set_attributes(stamp)
        ids = span.get_span_context()
        trace, row = ids.trace_id, ids.span_id
        if parent is not None and parent.exported:
            trace = parent.trace
            if not exported:
                row = parent.span  # children of this span become children of the nearest row
            if span.parent is None or (trace, parent.span) != (span.parent.trace_id, span.parent.span_id):
                row_places[ids.span_id] = trace, parent.span  # also here: it may be one for Langfuse when it ends
        reached = exported or row != ids.span_id
        anchor = SpanAnchor(trace, row, (session, origin), span.start_time or 0, reached)
        anchor.row = row_of(parent, above) if parent is not None and row != ids.span_id else None
        anchor.root = _root_of(span, parent)
        anchor.repeats = anchor.above = None
        anchor.companion = _companion(span, exported, parent)
        captures[span] = anchor
        return exported


def _companion(span: Span, exported: bool, parent: Parent | None) -> int:
    """Note the parent that a span has for destinations beside Langfuse; return what its children stand below there."""
    if not tracing.recorder.has_destinations:
        return 0
    nearest = parent.companion if parent is not None else 0
    ids = span.get_span_context()
    if nearest:
        companion_parents[ids.span_id] = nearest
    if exported:
        return 0
    return ids.span_id if _accompanies(span) else nearest


def _in_another_project(span: Span, parent: Parent) -> bool:
    """Return whether *parent* is a row of ours, which does not go to the project of the client that made *span*."""
    maker = sdk_clients.maker_of(span) if isinstance(parent, Observation) else None
    return maker not in (None, sdk_clients.LOCAL_PUBLIC_KEY, settings().public_key)


def _root_of(span: Span, parent: Parent | None) -> weakref.ref[trace_api.Span] | None:
    """Return the span at the top of a trace, or None when it is a row of ours."""
    if isinstance(parent, SpanAnchor):
        return parent.root
    return weakref.ref(span) if parent is None else None


class SuppressedClientProcessor(SpanProcessor):
    """A Langfuse client's own processor, kept from exporting when our delivery does it."""

    def __init__(self, inner: Any, ours: object) -> None:
        self.inner = inner
        self._ours = ours

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Let the client's processor stamp its propagated attributes."""
        self.inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Let the client export the span if the client is customised and the trace is sampled."""
        instance = sdk_clients.instances().get(self.inner.public_key)
        active = settings()
        if repeated.gives_way(span):
            return
        if instance is not None and not sdk_clients.is_plain(instance, active, self._ours) and _kept(span, active):
            self.inner.on_end(moved(span))

    def shutdown(self) -> None:
        """Shut the client's processor down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the client's processor."""
        return bool(self.inner.force_flush(timeout_millis))


def _stamp_of(session: Session, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of *session* that a span lacks; none when it names another session or user."""
    for key, value in (("session.id", session.session_id), ("user.id", session.user_id)):
        if attributes.get(key) not in (None, value):
            return {}
    stamp: dict[str, Any] = {
        key: value
        for key, value in span_attributes(session).items()
        if key not in attributes or key in (TRACE_TAGS, ENVIRONMENT)
    }
    if TRACE_TAGS in stamp and TRACE_TAGS in attributes:
        stamp[TRACE_TAGS] = list(dict.fromkeys((*attributes[TRACE_TAGS], *stamp[TRACE_TAGS])))
    return stamp


def wanted(span: ReadableSpan) -> bool:
    """Return whether Langfuse takes such a span: by the SDK's filter once loaded, else by the part known here."""
    scope = span.instrumentation_scope
    if scope is not None and scope.name == LANGFUSE_SCOPE:
        return True
    attributes = span.attributes or {}
    if DUPLICATE in attributes or (scope is not None and scope.name in otel_spans.duplicate_scopes):
        return False
    if any(key.startswith("gen_ai.") for key in attributes):
        return True
    is_default_export_span = loaded("langfuse.span_filter", "is_default_export_span")
    return is_default_export_span is not None and bool(is_default_export_span(span))


def _accompanies(span: ReadableSpan) -> bool:
    """Return whether other destinations get a span that Langfuse does not take."""
    return _sampled(span) and DUPLICATE not in (span.attributes or {})


def _kept(span: ReadableSpan, active: Settings) -> bool:
    """Return whether a trace is in the share that is kept, decided by trace id as the worker does."""
    ids = span.get_span_context()
    bound = round(active.sample_rate * (1 << 64))
    return ids is None or ids.trace_id & ((1 << 64) - 1) < bound


def _sampled(span: ReadableSpan) -> bool:
    context = span.get_span_context()
    return context is not None and bool(context.trace_flags.sampled)

"""Spans as parents: OpenTelemetry's current span, ours or somebody else's, and the session that it carries."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from contextvars import Token
from typing import Any

from opentelemetry import baggage
from opentelemetry import trace as trace_api
from opentelemetry.context.context import Context

from ..internals.bounded import BoundedDict
from ..sessions.session import Session, usable
from .anchor import Anchor, Parent
from .observation import Observation
from .otel_api import ROOT_KEY, ROW_KEY, SPAN_KEY, get_context, set_context, span_context
from .sdk_metadata import plain_text

trace_api.Span.register(Observation)


def place(parent: Parent | None) -> Token[Context]:
    """Make any *parent* the current span in this context, or have none, for a `with` block only."""
    span: trace_api.Span
    if parent is None:
        span = trace_api.INVALID_SPAN
    elif isinstance(parent, Observation):
        span = parent
    else:
        span = trace_api.NonRecordingSpan(span_context(parent.trace, parent.span))
        if isinstance(parent, SpanAnchor) and parent.companion:
            captures[span] = parent
    row = parent if isinstance(parent, Observation) else None
    return set_context(Context({**get_context(), SPAN_KEY: span, ROW_KEY: row, ROOT_KEY: row}))


class SpanAnchor(Anchor):
    """The anchor of a span that is not ours.

    Attributes:
        companion: the id of this span where only destinations beside Langfuse get it, or of the nearest such span
            between it and the row that it stands for; 0 without one.
        root: the span at the top of its trace, or None when that is a row of ours or is not known.
        repeats: the key of the run that the span stands for as well, or None: it is no parent of that run.
        above: what stands above the span then.
        row: the span whose ids these are, where the span itself does not reach Langfuse; or None.
    """

    __slots__ = ("above", "companion", "repeats", "root", "row")

    companion: int

    root: weakref.ref[trace_api.Span] | None
    repeats: Hashable | None
    above: Parent | None
    row: trace_api.Span | None


captures: weakref.WeakKeyDictionary[trace_api.Span, SpanAnchor] = weakref.WeakKeyDictionary()
"""What our span processor noted of spans that are not ours; they leave with their spans."""
row_places: BoundedDict[int, tuple[int, int]] = BoundedDict(10_000)
"""Where Langfuse has a span that is elsewhere in OpenTelemetry: its trace and the row above it, by the span's id.

Its own parent does not reach Langfuse, or it is a span of the application's tracer provider inside of a run.
"""


DUPLICATE = "langfuse_integration.duplicate"
"""The attribute of a span that stands for what an adapter records as well, and that somebody else reads."""

BELOW_ROW = "langfuse_integration.below_row"
"""The attribute of a span whose parent is a row of ours, maybe one of another process."""

duplicate_scopes: set[str] = set()
"""Scopes whose spans stand for what an adapter records as well: the adapter's run wins over them."""


def current_span() -> Parent | None:
    """Return OpenTelemetry's current span as a parent, or None.

    A span that has ended counts as long as the root of its trace is open. After that it is left over in a task that
    goes on for longer, whose next turn is a trace of its own.
    """
    context = get_context()
    span: Any = context.get(SPAN_KEY)
    if span is None:
        return None
    if type(span) is Observation:
        return span if not span.ended_ns or _root_is_open(context) else None
    if not isinstance(span, trace_api.Span):
        return None
    parent = parent_of(span)
    if getattr(span, "end_time", None) and not _root_is_open(context, parent):
        return None
    if parent is not None and duplicate_scopes and _scope_of(span) in duplicate_scopes:
        return Anchor(parent.trace, parent.span, (parent.session, parent.origin), 0, parent.exported)
    return parent


def _root_is_open(context: Mapping[str, Any], parent: Parent | None = None) -> bool:
    root: Any = parent.root() if isinstance(parent, SpanAnchor) and parent.root is not None else context.get(ROOT_KEY)
    ended: object = root is None or getattr(root, "ended_ns", None) or getattr(root, "end_time", None)
    return not ended


def _scope_of(span: Any) -> str | None:
    return getattr(getattr(span, "instrumentation_scope", None), "name", None)


def parent_of(span: trace_api.Span, context: Mapping[str, Any] | None = None) -> Parent | None:
    """Return any span as a parent, or None when it has no valid ids.

    A span that does not reach Langfuse stands for the nearest row above it that does, in the same trace.

    Args:
        context: OpenTelemetry's context that holds the span; None is the current one.
    """
    if isinstance(span, Observation):
        return span
    known = captures.get(span)
    if known is not None:
        return known
    ids = span.get_span_context()
    if not ids.is_valid:
        return None
    started_ns = getattr(span, "start_time", None) or 0
    row: Any = (get_context() if context is None else context).get(ROW_KEY)
    if row is not None and row.trace == ids.trace_id and not ids.is_remote:
        return Anchor(row.trace, row.span, (row.session, row.origin), started_ns)
    attributes: Any = getattr(span, "attributes", None) or {}
    session = _stamped(attributes)
    return Anchor(ids.trace_id, ids.span_id, (session, session), started_ns, _claimed_upstream(ids))


def _claimed_upstream(context: trace_api.SpanContext) -> bool:
    """Return whether an upstream service exports this trace to Langfuse itself.

    It says so by the baggage entry `langfuse_trace_id` (Langfuse SDK 5): then nothing here is the trace's root.
    """
    claimed = baggage.get_baggage("langfuse_trace_id")
    return claimed is not None and str(claimed).lower() == f"{context.trace_id:032x}"


PROPAGATED = "langfuse.propagated."
"""Where `langfuse.propagate_attributes` keeps its values in a context (Langfuse SDK 4.7 to 5.0)."""
_ATTRIBUTES = ("session_id", "user_id", "tags", "metadata", "trace_name", "version", "environment")
_EXTRA = {
    "prompt_name": "langfuse.observation.prompt.name",
    "prompt_version": "langfuse.observation.prompt.version",
    "experiment_id": "langfuse.experiment.id",
    "experiment_name": "langfuse.experiment.name",
    "experiment_metadata": "langfuse.experiment.metadata",
    "experiment_dataset_id": "langfuse.experiment.dataset.id",
    "experiment_item_id": "langfuse.experiment.item.id",
    "experiment_item_metadata": "langfuse.experiment.item.metadata",
    "experiment_item_root_observation_id": "langfuse.experiment.item.root_observation_id",
}
_KEYS = tuple(PROPAGATED + name for name in (*_ATTRIBUTES, *_EXTRA))
_KEY_SET = frozenset(_KEYS)
_NOTHING = (None,) * len(_KEYS)
EXPERIMENT_ENVIRONMENT = "sdk-experiment"
"""Where Langfuse's SDK puts everything that an experiment records."""
_last: tuple[tuple[Any, ...], Session | None] = (_NOTHING, None)


def propagated(context: Mapping[str, Any] | None = None) -> Session | None:
    """Return what Langfuse's own `propagate_attributes` carries, as a session; None without any.

    Args:
        context: OpenTelemetry's context that carries it; None is the current one.
    """
    global _last
    context = get_context() if context is None else context
    if not context or _KEY_SET.isdisjoint(context):
        return None
    values = tuple(map(context.get, _KEYS))
    last = _last
    if values == last[0]:
        return last[1]
    session = _propagated(values)
    _last = (values, session)
    return session


def _propagated(values: tuple[Any, ...]) -> Session | None:
    named: dict[str, Any] = dict(zip(_ATTRIBUTES, values, strict=False))
    extra = zip(_EXTRA.values(), values[len(_ATTRIBUTES) :], strict=True)
    if named["metadata"]:
        named["metadata"] = {key: plain_text(value) for key, value in named["metadata"].items()}
    named["extra"] = {key: value for key, value in extra if value is not None} or None
    if named["extra"] and _EXTRA["experiment_item_root_observation_id"] in named["extra"]:
        named["environment"] = EXPERIMENT_ENVIRONMENT
    session = usable("what propagate_attributes carries", named)
    return None if session is None else session.as_propagated()


def _stamped(attributes: Any) -> Session | None:
    return _session_of(attributes.get("session.id"), attributes.get("user.id"))


def _session_of(session_id: Any, user_id: Any) -> Session | None:
    if not session_id and not user_id:
        return None
    try:
        return Session(session_id or None, user_id or None)
    except (TypeError, ValueError):
        return None

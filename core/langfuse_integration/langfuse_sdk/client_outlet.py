"""The outlet for an application that made its own Langfuse client: our rows go through it, as it is."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import Status, StatusCode

from ..encoding.attributes import STATUS_MESSAGE
from ..encoding.row import FORMER_SCOPE, SCOPE, Encoder
from ..export.outlet import Outlet
from ..internals.faults import shielded
from ..recording.observation import Observation
from ..recording.otel_api import span_context
from ..recording.score import Score
from .moved import moved

_SCOPE = InstrumentationScope(SCOPE)
_HANDING = shielded("handing an observation to the Langfuse client")
_FLUSHING = shielded("flushing the Langfuse client")
PASS = "gen_ai.provider.name"
"""A client's default filter lets spans of unknown scopes pass only with an attribute of this family."""


class ClientOutlet(Outlet):
    """Gives finished observations to a `LangfuseSpanProcessor`; masking, filter and export are the client's.

    Args:
        resource: that of the client's provider, for spans of ours.
    """

    def __init__(self, processor: Any, encoder: Encoder, resource: Any = None) -> None:
        self._processor = processor
        self._encoder = encoder
        # Resource.create starts threads, which is too late at the end of a process.
        self._resource = resource if isinstance(resource, Resource) else Resource({})
        self._given = 0
        self._lost: Counter[str] = Counter()

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Pass a batch to the client."""
        for found in finished:
            with _HANDING:
                self._processor.on_end(self._span(found) if isinstance(found, Observation) else self._foreign(found))
                self._given += 1
                continue
            self._lost["not handed over"] += 1
        for score in map(self._encoder.score, scores):
            with _HANDING:
                self._client().create_score(
                    name=score.name,
                    value=score.value,
                    trace_id=f"{score.trace:032x}",
                    observation_id=f"{score.span:016x}",
                    score_id=score.id,
                    comment=score.comment,
                )

    def flush(self, deadline: float) -> None:
        """Let the client export until *deadline*; its own flush may take no notice of the time it is given."""
        left_s = deadline - time.monotonic()
        if left_s > 0:
            flushing = threading.Thread(
                target=self._flush, args=(left_s,), name="langfuse-integration-flush", daemon=True
            )
            try:
                flushing.start()
            except RuntimeError:  # no thread can be had: Python 3.12 starts none once exit handlers run
                self._flush(left_s)
            else:
                flushing.join(left_s)

    def _flush(self, left_s: float) -> None:
        with _FLUSHING:
            self._processor.force_flush(int(left_s * 1000))

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost): nothing is known to be delivered, see `handed_over`."""
        return 0, 0, sum(self._lost.values())

    def handed_over(self) -> int:
        """Return how many observations the client has taken."""
        return self._given

    def reasons(self) -> Mapping[str, int]:
        """Return the number of lost observations by reason."""
        return self._lost

    def _client(self) -> Any:
        from langfuse import get_client

        return get_client(public_key=self._processor.public_key)

    def _span(self, observation: Observation) -> ReadableSpan:
        attributes = self._encoder.attributes(observation)
        attributes.setdefault(PASS, FORMER_SCOPE)
        failed = observation.level == "ERROR"
        return ReadableSpan(
            name=self._encoder.name(observation),
            context=span_context(observation.trace, observation.span),
            parent=span_context(observation.trace, observation.parent) if observation.parent else None,
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.INTERNAL,
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR, attributes.get(STATUS_MESSAGE)) if failed else Status(),
            start_time=observation.started_ns,
            end_time=observation.ended_ns,
        )

    def _foreign(self, span: ReadableSpan) -> ReadableSpan:
        """Return a span of another library in its place in Langfuse, with our mask and capture applied."""
        span = moved(span)
        if not self._encoder.changes_spans:
            return span
        name, attributes, events, message = self._encoder.span_parts(span)
        return ReadableSpan(
            name=name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=attributes,
            events=[Event(event_name, given, at_ns) for at_ns, event_name, given in events],
            kind=span.kind,
            instrumentation_scope=span.instrumentation_scope,
            status=Status(span.status.status_code, message or None),
            start_time=span.start_time,
            end_time=span.end_time,
        )

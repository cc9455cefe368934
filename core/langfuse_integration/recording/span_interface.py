"""The OpenTelemetry API's `Span`, as an observation implements it.

The methods are here, what they read and write is in observation.py. OpenTelemetry is loaded only when it is needed:
otel_spans.py registers the class with it then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span as _Span
    from opentelemetry.trace import SpanContext, Status, StatusCode
    from opentelemetry.util.types import AttributeValue

    from .observation_update import Level
else:
    _Span = object


def _raw_attributes(span: SpanInterface) -> Mapping[str, Any]:
    return span.raw_attributes or {}


read_attributes: Callable[[Any], Mapping[str, Any]] = _raw_attributes
"""The function behind `Observation.attributes`; the composition root sets the encoder's."""


class SpanInterface(_Span):
    """The methods that OpenTelemetry and its instrumentations call on the current span."""

    __slots__ = ()

    if TYPE_CHECKING:
        trace: int
        span: int
        name: str
        ended_ns: int
        level: Level | None
        status_message: str | None
        _attributes: dict[str, Any] | None
        _context: SpanContext | None
        _recorder: Any

        def finish(self, output: Any = None) -> None: ...
        def fail(self, error: BaseException) -> None: ...
        def add_metadata(self, metadata: Any) -> None: ...

    def end(self, end_time: int | None = None) -> None:
        """End the span, at *end_time* (ns since 1970) if given."""
        if end_time is not None and not self.ended_ns:
            self.ended_ns = end_time
            self._recorder.record(self)
        else:
            self.finish()

    def get_span_context(self) -> SpanContext:
        """Return the ids as OpenTelemetry's type."""
        if self._context is None:
            from .otel_api import span_context

            self._context = span_context(self.trace, self.span)
        return self._context

    def is_recording(self) -> bool:
        """Return whether the span is open."""
        return not self.ended_ns

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes that the row would have now, by name."""
        return read_attributes(self)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute; one of Langfuse's own names takes precedence over what the observation holds."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes; None values are ignored."""
        if self.ended_ns:
            return
        values = {key: value for key, value in attributes.items() if value is not None}
        self._attributes = {**self._attributes, **values} if self._attributes else values

    @property
    def raw_attributes(self) -> Mapping[str, Any] | None:
        """What was set through OpenTelemetry's API, or None."""
        return self._attributes

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Keep an event as metadata: Langfuse maps no span events."""
        if not self.ended_ns:
            self.add_metadata({f"event.{name}": dict(attributes or {})})

    def update_name(self, name: str) -> None:
        """Change the name."""
        if not self.ended_ns:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Take over an error status; any other status changes nothing."""
        code: Any = getattr(status, "status_code", status)
        if not self.ended_ns and code.name == "ERROR":
            self.level = "ERROR"
            text = description or getattr(status, "description", None)
            self.status_message = text or self.status_message

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Set level and status message by *exception*."""
        if not self.ended_ns:
            self.fail(exception)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Keep a link as metadata: Langfuse maps no links."""
        if not self.ended_ns:
            self.add_metadata({"link": {"trace_id": f"{context.trace_id:032x}", "id": f"{context.span_id:016x}"}})

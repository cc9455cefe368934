"""An observation: one row in Langfuse, noted while it happens and built later.

It implements the OpenTelemetry API's `Span` (registered in `otel.py`, so that OpenTelemetry is loaded only when it is
needed): inside a `trace_span` block it is the current span, and whatever updates the current span writes into it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..internals import faults
from ..sessions.session import Session
from .anchor import Parent
from .ids import RANDOM_BITS, new_bits
from .snapshot import snapshot

if TYPE_CHECKING:
    from opentelemetry.trace import Span as _Span
    from opentelemetry.trace import SpanContext, Status, StatusCode
    from opentelemetry.util.types import AttributeValue
else:
    _Span = object

ObservationType = Literal[
    "span", "generation", "agent", "tool", "chain", "retriever", "embedding", "evaluator", "guardrail", "event"
]
Level = Literal["DEBUG", "DEFAULT", "WARNING", "ERROR"]

_now = time.time_ns
_clock = time.perf_counter_ns


def _raw_attributes(observation: Observation) -> Mapping[str, Any]:
    return observation.raw_attributes or {}


read_attributes: Callable[[Observation], Mapping[str, Any]] = _raw_attributes
"""What `Observation.attributes` shows; the composition root puts the encoder's attributes here."""


class Recorder(Protocol):
    """Takes what starts and ends; see recorder.py."""

    def opened(self, observation: Observation) -> None: ...
    def record(self, observation: Observation) -> None: ...
    def score(self, score: Score) -> None: ...


class Score:
    """A value given to an observation: numeric, boolean or a category (text)."""

    __slots__ = ("comment", "id", "name", "span", "trace", "value")

    def __init__(self, trace: int, span: int, name: str, value: float | str | bool, comment: str | None) -> None:
        self.id = f"{new_bits(128):032x}"
        self.trace = trace
        self.span = span
        self.name = name
        self.value = value
        self.comment = comment


class Observation(_Span):
    """One step of the application: a span, generation, tool call, agent run, ...

    Attributes:
        trace, span, parent: ids as integers; `parent` is 0 in a root.
        trace_id, id: the same as hex text, as Langfuse shows them.
        session: captured when it started; None is untagged.
        started_ns, ended_ns: wall time in nanoseconds since 1970; `ended_ns` is 0 while it is open.
        first_token_ns: when a streamed answer began, or 0.
        usage_details: tokens in disjoint buckets, integers only.
        late: fills in the rest from what was noted, each time before the row is built, on the thread that builds it.
    """

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_clock_ns",
        "_context",
        "_recorder",
        "app_root",
        "cost_details",
        "ended_ns",
        "first_token_ns",
        "input",
        "late",
        "level",
        "metadata",
        "model",
        "model_parameters",
        "name",
        "origin",
        "output",
        "parent",
        "prompt",
        "session",
        "span",
        "started_ns",
        "status_message",
        "trace",
        "type",
        "usage_details",
        "version",
    )

    exported = True

    def __init__(
        self,
        name: str,
        type: ObservationType,  # noqa: A002  Langfuse's word
        recorder: Recorder,
        parent: Parent | None,
        captured: tuple[Session | None, Session | None] = (None, None),
        input: Any = None,  # noqa: A002  Langfuse's word
    ) -> None:
        self.started_ns = _now()
        self._clock_ns = _clock()
        self.name = name
        self.type = type
        self._recorder = recorder
        self.session, self.origin = captured
        self.input = snapshot(input) if input is not None else None
        self.metadata = None
        self.span = new_bits(64) or 1
        if parent is None:
            self.trace = self.started_ns // 1_000_000 << RANDOM_BITS | new_bits(RANDOM_BITS)
            self.parent = 0
            self.app_root = True
        else:
            self.trace = parent.trace
            self.parent = parent.span
            self.app_root = not parent.exported
        self.ended_ns = self.first_token_ns = 0
        self.output = self.level = self.status_message = self.model = self.model_parameters = None
        self.usage_details = self.cost_details = self.prompt = self.version = None
        self._attributes = self._context = self.late = None

    if TYPE_CHECKING:
        name: str
        type: ObservationType
        trace: int
        span: int
        parent: int
        app_root: bool
        session: Session | None
        origin: Session | None
        started_ns: int
        ended_ns: int
        first_token_ns: int
        input: Any
        output: Any
        metadata: dict[str, Any] | None
        level: Level | None
        status_message: str | None
        model: str | None
        model_parameters: Mapping[str, Any] | None
        usage_details: Mapping[str, int] | None
        cost_details: Mapping[str, float] | None
        prompt: tuple[str, int | None] | None
        version: str | None
        late: Callable[[Observation], None] | None
        _recorder: Recorder
        _attributes: dict[str, Any] | None
        _context: SpanContext | None
        _clock_ns: int

    # -- what users call

    @property
    def trace_id(self) -> str:
        """The trace's id: 32 hex digits."""
        return f"{self.trace:032x}"

    @property
    def id(self) -> str:
        """The observation's id: 16 hex digits."""
        return f"{self.span:016x}"

    @property
    def parent_id(self) -> str | None:
        """The id of the observation or span above, or None in a root."""
        return f"{self.parent:016x}" if self.parent else None

    @property
    def url(self) -> str:
        """Where to look at the trace."""
        from ..links import trace_url

        return trace_url(self.trace_id)

    def update(
        self,
        *,
        name: str | None = None,
        input: Any = None,  # noqa: A002  Langfuse's word
        output: Any = None,
        metadata: Mapping[str, Any] | Any = None,
        level: Level | None = None,
        status_message: str | None = None,
        model: str | None = None,
        model_parameters: Mapping[str, Any] | None = None,
        usage_details: Mapping[str, int] | None = None,
        cost_details: Mapping[str, float] | None = None,
        completion_start_time: datetime | None = None,
        prompt: Any = None,
        version: str | None = None,
    ) -> Observation:
        """Set what is given, keep the rest; metadata is merged by key. After the end it changes nothing.

        Args:
            completion_start_time: when the first token came; an aware datetime.
            prompt: a Langfuse prompt client, or anything with `name` and `version`.
        """
        if self.ended_ns:
            return self
        try:
            if output is not None:
                self.output = snapshot(output)
            if input is not None:
                self.input = snapshot(input)
            if name is not None:
                self.name = name
            if level is not None:
                self.level = level
            if status_message is not None:
                self.status_message = status_message
            if version is not None:
                self.version = version
            if model is not None:
                self.model = model
            if model_parameters is not None:
                self.model_parameters = snapshot(model_parameters)
            if usage_details is not None:
                self.usage_details = snapshot(usage_details)
            if cost_details is not None:
                self.cost_details = snapshot(cost_details)
            if metadata is not None:
                self.add_metadata(metadata)
            if completion_start_time is not None:
                self.first_token_ns = int(completion_start_time.timestamp() * 1_000_000) * 1_000
            if prompt is not None:
                self.prompt = (prompt.name, getattr(prompt, "version", None))
        except Exception as error:  # noqa: BLE001  our own fault
            faults.fault("updating an observation", error)
        return self

    def score(self, name: str, value: float | str | bool, *, comment: str | None = None) -> None:
        """Give this observation a score: a number, True or False, or a category as text."""
        self._recorder.score(Score(self.trace, self.span, name, value, comment))

    # -- what adapters call

    def add_metadata(self, metadata: Mapping[str, Any] | Any) -> None:
        """Merge a mapping into the metadata; anything else becomes its entry `metadata`."""
        entries = dict(metadata) if isinstance(metadata, Mapping) else {"metadata": metadata}
        copied = {str(key): snapshot(value) for key, value in entries.items()}
        self.metadata = {**self.metadata, **copied} if self.metadata else copied

    def first_token(self) -> None:
        """Note that the answer has begun; only the first call counts."""
        if not self.first_token_ns:
            self.first_token_ns = self.elapsed_to_wall()

    def fail(self, error: BaseException) -> None:
        """Note how it ended: an error is ERROR with its text; cancellation and other control flow are DEFAULT."""
        if isinstance(error, Exception) and type(error).__name__ != "CancelledError":
            self.level = "ERROR"
            self.status_message = describe(error)
        elif type(error).__name__ in ("CancelledError", "GeneratorExit"):
            self.cancel()
        else:
            self.level = "DEFAULT"
            self.status_message = type(error).__name__

    def cancel(self) -> None:
        """Note that it was cancelled: no error."""
        self.level = "DEFAULT"
        self.status_message = "cancelled"

    def set_back(self, started_ns: int, clock_ns: int) -> None:
        """Let it have started earlier: wall time in ns, and what the monotonic clock said then."""
        self.started_ns = started_ns
        self._clock_ns = clock_ns

    def elapsed_to_wall(self) -> int:
        """Return now as wall time in ns, by the monotonic clock since the start."""
        return self.started_ns + _clock() - self._clock_ns

    def finish(self, output: Any = None) -> None:
        """End it with *output*, unless it has ended; None keeps the output that it has."""
        if self.ended_ns:
            return
        if output is not None:
            self.output = snapshot(output)
        self.ended_ns = self.started_ns + _clock() - self._clock_ns
        self._recorder.record(self)

    # -- OpenTelemetry's Span

    def end(self, end_time: int | None = None) -> None:
        """End it, at *end_time* (ns since 1970) if given."""
        if end_time is not None and not self.ended_ns:
            self.ended_ns = end_time
            self._recorder.record(self)
        else:
            self.finish()

    def get_span_context(self) -> SpanContext:
        """Return the ids as OpenTelemetry wants them."""
        if self._context is None:
            from .otel_api import span_context

            self._context = span_context(self.trace, self.span)
        return self._context

    def is_recording(self) -> bool:
        """Return whether it is still open."""
        return not self.ended_ns

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What would be sent now, by attribute name."""
        return read_attributes(self)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an OpenTelemetry attribute; the names of Langfuse's own win over what was noted before."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set several; None values are ignored."""
        if self.ended_ns:
            return
        given = {key: value for key, value in attributes.items() if value is not None}
        self._attributes = {**self._attributes, **given} if self._attributes else given

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
        """Take over an OpenTelemetry status: only an error shows."""
        code: Any = getattr(status, "status_code", status)
        if not self.ended_ns and code.name == "ERROR":
            self.level = "ERROR"
            text = description or getattr(status, "description", None)
            self.status_message = text or self.status_message

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Note an exception as the status."""
        if not self.ended_ns:
            self.fail(exception)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Keep a link as metadata: Langfuse maps no links."""
        if not self.ended_ns:
            self.add_metadata({"link": {"trace_id": f"{context.trace_id:032x}", "id": f"{context.span_id:016x}"}})

    def __enter__(self) -> Observation:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.fail(error)
        self.finish()

    def __repr__(self) -> str:
        state = "open" if not self.ended_ns else "ended"
        return f"<Observation {self.type} {self.name!r} {state} trace={self.trace_id} id={self.id}>"


def describe(error: BaseException) -> str:
    """Return an exception as one text: its kind and what it says."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  our own fault
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

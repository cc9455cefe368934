"""An observation: one row in Langfuse, noted while it happens and built later.

It is an OpenTelemetry span too (see span_interface.py): inside a `trace_span` block it is the current span, and
whatever updates the current span writes into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, Unpack

from ..internals import faults
from ..internals.free_threading import one_at_a_time
from ..sessions.session import Session
from . import clocks
from .anchor import Parent
from .clocks import TOLERANCE_NS
from .ids import RANDOM_BITS, new_bits
from .observation_update import COPIED, NAMES, SETTERS, Level, ObservationUpdate
from .score import Score
from .snapshot import ATOMS, snapshot
from .span_interface import SpanInterface

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

ObservationType = Literal[
    "span", "generation", "agent", "tool", "chain", "retriever", "embedding", "evaluator", "guardrail", "event"
]

_now = clocks.now
_clock = clocks.steady
_type = type  # where an argument has the name


class Recorder(Protocol):
    """Takes what starts and ends; see recorder.py."""

    def opened(self, observation: Observation) -> None: ...
    def record(self, observation: Observation) -> None: ...
    def score(self, score: Score) -> None: ...


class Observation(SpanInterface):
    """One step of the application: a span, generation, tool call, agent run, ...

    Attributes:
        trace, span, parent: ids as integers; `parent` is 0 in a root.
        trace_id, id: the same as hex text, as Langfuse shows them.
        session: captured when it started; None is untagged.
        started_ns, ended_ns: wall time in nanoseconds since 1970; `ended_ns` is 0 while it is open.
        first_token_ns: when a streamed answer began, or 0.
        usage_details: tokens in disjoint buckets, integers only.
        asked_model: the model that was asked for, where another name than `model` answered; for other destinations.
        late: called with the observation on the worker, each time before its row is built, to fill in the rest.
        exact: called on the worker where rows are to be replayable; returns the exact form of the answer in plain
            values, see `langfuse_integration.testing_kit.replay`.
    """

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_clock_ns",
        "_context",
        "_recorder",
        "app_root",
        "asked_model",
        "cost_details",
        "ended_ns",
        "exact",
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
    companion = 0

    def __init__(
        self,
        name: str,
        type: ObservationType,  # noqa: A002  Langfuse's word
        recorder: Recorder,
        parent: Parent | None,
        captured: tuple[Session | None, Session | None] = (None, None),
        input: Any = None,  # noqa: A002  Langfuse's word
    ) -> None:
        started_ns = _now()
        clock_ns = _clock()
        if not -TOLERANCE_NS < started_ns - clock_ns - clocks.distance_ns < TOLERANCE_NS:
            started_ns, clock_ns = clocks.moment()
        self.started_ns = started_ns
        self._clock_ns = clock_ns
        self.name = name
        self.type = type
        self._recorder = recorder
        self.session, self.origin = captured
        self.input = input if _type(input) in ATOMS else snapshot(input)
        self.metadata = None
        self.span = new_bits(64) ^ started_ns or 1
        if parent is None:
            self.trace = started_ns // 1_000_000 << RANDOM_BITS | new_bits(RANDOM_BITS) ^ started_ns
            self.parent = 0
            self.app_root = True
        else:
            self.trace = parent.trace
            self.parent = parent.span
            self.app_root = not parent.exported
        self.ended_ns = self.first_token_ns = 0
        self.output = self.level = self.status_message = self.model = self.model_parameters = None
        self.usage_details = self.cost_details = self.prompt = self.version = None
        self._attributes = self._context = self.late = self.exact = self.asked_model = None

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
        asked_model: str | None
        late: Callable[[Observation], None] | None
        exact: Callable[[], Any] | None
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

    def update(self, **changes: Unpack[ObservationUpdate]) -> Observation:
        """Set what is given and not None, keep the rest; after the end this changes nothing.

        Args:
            changes: see `ObservationUpdate`; metadata is merged by key.

        Raises:
            TypeError: an unknown name.
        """
        if not changes.keys() <= NAMES:
            raise TypeError(f"update() takes {', '.join(NAMES)}, not {', '.join(sorted(changes.keys() - NAMES))}")
        if not self.ended_ns:
            try:
                for name, value in changes.items():
                    if value is None:
                        continue
                    if name in SETTERS:
                        SETTERS[name](self, value)
                    else:
                        setattr(self, name, snapshot(value) if name in COPIED else value)
            except Exception as error:  # noqa: BLE001  our own fault
                faults.fault("updating an observation", error)
        return self

    def score(self, name: str, value: float | str | bool, *, comment: str | None = None) -> None:
        """Give this observation a score: a number, True or False, or a category as text."""
        self._recorder.score(Score(self.trace, self.span, name, value, comment))

    # -- what adapters call

    @one_at_a_time
    def add_metadata(self, metadata: Mapping[str, Any] | Any) -> None:
        """Merge a mapping into the metadata; anything else becomes its entry `metadata`."""
        entries = dict(metadata) if isinstance(metadata, Mapping) else {"metadata": metadata}
        copied = {str(key): snapshot(value) for key, value in entries.items()}
        self.metadata = {**self.metadata, **copied} if self.metadata else copied

    def first_token(self) -> None:
        """Record when the answer began; only the first call counts."""
        if not self.first_token_ns:
            self.first_token_ns = self.elapsed_to_wall()

    def fail(self, error: BaseException) -> None:
        """Set level and status message by *error*; cancellation and other control flow are DEFAULT, no errors."""
        if isinstance(error, Exception) and type(error).__name__ != "CancelledError":
            self.level = "ERROR"
            self.status_message = describe(error)
        elif type(error).__name__ in ("CancelledError", "GeneratorExit"):
            self.cancel()
        else:
            self.level = "DEFAULT"
            self.status_message = type(error).__name__

    def cancel(self) -> None:
        """Set the status message `cancelled`: no error."""
        self.level = "DEFAULT"
        self.status_message = "cancelled"

    def set_back(self, started_ns: int, clock_ns: int) -> None:
        """Set an earlier start.

        Args:
            started_ns: wall time, ns since 1970.
            clock_ns: what `time.perf_counter_ns` said then.
        """
        self.started_ns = started_ns
        self._clock_ns = clock_ns

    def move(self, parent: Parent) -> None:
        """Stand below *parent* from now on; nothing may have started below this one."""
        self.trace, self.parent, self._context = parent.trace, parent.span, None

    def elapsed_to_wall(self) -> int:
        """Return the current wall time in ns since 1970, by the monotonic clock since the start."""
        return self.started_ns + _clock() - self._clock_ns

    @one_at_a_time
    def finish(self, output: Any = None) -> None:
        """End the observation with *output*, once; None keeps the output that is there."""
        if output is not None and not self.ended_ns and type(output) not in ATOMS:
            output = snapshot(output)
        ended_ns = self.started_ns + _clock() - self._clock_ns
        if self.ended_ns:  # no call stands between this and the next line: another thread may end it, too
            return
        self.ended_ns = ended_ns
        if output is not None:
            self.output = output
        self._recorder.record(self)

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

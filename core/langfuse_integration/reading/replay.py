"""Reading back what was recorded: observations, their traces as trees, the sessions they belong to.

The command line, the viewer and the test kit all read through this.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Self

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .usage_buckets import disjoint_buckets

METADATA = "langfuse.observation.metadata."
ID_METADATA = frozenset({METADATA + "think_id", METADATA + "tool_call_id"})
"""Text as it is: hex digits may look like a number."""
_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR

Tree = str | dict[str, list[Any]]
"""A leaf is "type name"; with children it is {"type name": [children]}, in the order in which they started."""


class Observed:
    """One observation as it was sent.

    Attributes:
        attributes: everything by attribute name, as text, numbers, booleans or lists of text.
        started_ns, ended_ns: wall time in ns since 1970.
        finished: False for one that is still open, or was when its process died.
    """

    def __init__(self, span: Any, *, finished: bool = True) -> None:
        self.id: str = span.span_id.hex()
        self.trace_id: str = span.trace_id.hex()
        self.parent_id: str | None = span.parent_span_id.hex() or None
        self.name: str = span.name
        self.started_ns: int = span.start_time_unix_nano
        self.ended_ns: int = span.end_time_unix_nano
        self.finished = finished
        self._failed = span.status.code == _ERROR
        self._status: str = span.status.message
        self.attributes: dict[str, Any] = {entry.key: _value(entry.value) for entry in span.attributes}
        self.children: list[Observed] = []

    @classmethod
    def decoded(cls, body: bytes, *, finished: bool = True) -> list[Self]:
        """Return the observations in an OTLP request; none where it is damaged."""
        return [
            cls(span, finished=finished)
            for resource in (request_of(body) or ExportTraceServiceRequest()).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def _get(self, name: str) -> Any:
        return self.attributes.get("langfuse.observation." + name)

    @property
    def type(self) -> str:
        """Langfuse's observation type."""
        return str(self._get("type") or "span")

    @property
    def session_id(self) -> str | None:
        """The session, or None: untagged."""
        return _text(self.attributes.get("session.id"))

    @property
    def user_id(self) -> str | None:
        """The user, or None."""
        return _text(self.attributes.get("user.id"))

    @property
    def level(self) -> str:
        """DEBUG, DEFAULT, WARNING or ERROR; without Langfuse's word for it, what OpenTelemetry's status says."""
        return str(self._get("level") or ("ERROR" if self._failed else "DEFAULT"))

    @property
    def status_message(self) -> str | None:
        """What went wrong, or how it ended."""
        return _text(self._get("status_message") or self._status or None)

    @cached_property
    def input(self) -> Any:
        """The input as a value."""
        return parsed(self._get("input"))

    @cached_property
    def output(self) -> Any:
        """The output as a value; None where an error stands in its place, as it does in Langfuse."""
        output = self._get("output")
        if output is not None and self.level == "ERROR" and output == self._get("status_message"):
            return None
        return parsed(output)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata, each entry as a value."""
        return {
            key.removeprefix(METADATA): value if key in ID_METADATA else parsed(value)
            for key, value in self.attributes.items()
            if key.startswith(METADATA)
        }

    @property
    def model(self) -> str | None:
        """The model's name."""
        return _text(self._get("model.name"))

    @property
    def model_parameters(self) -> dict[str, Any]:
        """The model's parameters."""
        return _mapping(self._get("model.parameters"))

    @property
    def usage(self) -> dict[str, int]:
        """Tokens in disjoint buckets."""
        return disjoint_buckets(_mapping(self._get("usage_details")))

    @property
    def cost(self) -> dict[str, float]:
        """Cost in US dollars, by bucket."""
        return _mapping(self._get("cost_details"))

    @property
    def first_token(self) -> str | None:
        """When a streamed answer began: ISO 8601 in UTC."""
        return _text(self._get("completion_start_time"))

    @property
    def is_root(self) -> bool:
        """Whether Langfuse takes the trace's input and output from this row."""
        return self.parent_id is None or bool(self.attributes.get("langfuse.internal.is_app_root"))

    @property
    def label(self) -> str:
        """Type and name."""
        return f"{self.type} {self.name}"

    @property
    def is_think(self) -> bool:
        """Whether an agent decides here."""
        return self.metadata.get("step_type") == "think"

    @property
    def is_act(self) -> bool:
        """Whether an agent acts here."""
        return self.metadata.get("step_type") == "act"

    def tree(self) -> Tree:
        """Return this observation and all below, for plain comparison."""
        return {self.label: [child.tree() for child in self.children]} if self.children else self.label

    def walk(self) -> Iterator[Observed]:
        """Yield this observation and all below, parents first, in the order of their starts."""
        yield self
        for child in self.children:
            yield from child.walk()

    def __repr__(self) -> str:
        return f"<{self.label} session={self.session_id} user={self.user_id} {self.level}>"


class _Steps:
    """What agents did, among some observations."""

    observations: list[Observed]

    @property
    def thinks(self) -> list[Observed]:
        """Where agents decided."""
        return [observation for observation in self.observations if observation.is_think]

    @property
    def acts(self) -> list[Observed]:
        """Where agents acted."""
        return [observation for observation in self.observations if observation.is_act]

    @property
    def tools_called(self) -> list[str]:
        """The names of the tool observations, in order."""
        return [observation.name for observation in self.observations if observation.type == "tool"]


class Trace(_Steps):
    """The observations of one trace, as trees under their roots."""

    def __init__(self, observations: Iterable[Observed]) -> None:
        self.observations = sorted(
            observations, key=lambda observation: (observation.started_ns, observation.ended_ns, observation.id)
        )
        by_id = {observation.id: observation for observation in self.observations}
        self.roots: list[Observed] = []
        for observation in self.observations:
            observation.children = []
        for observation in self.observations:
            above = by_id.get(observation.parent_id or "")
            (above.children if above is not None and above is not observation else self.roots).append(observation)

    @property
    def id(self) -> str:
        """The trace's id."""
        return self.observations[0].trace_id

    @property
    def name(self) -> str:
        """The name of its first root."""
        return self.roots[0].name if self.roots else self.observations[0].name

    @property
    def started_ns(self) -> int:
        """When its first observation started."""
        return self.observations[0].started_ns

    @property
    def ended_ns(self) -> int:
        """When its last observation ended."""
        return max(observation.ended_ns for observation in self.observations)

    def tree(self) -> list[Tree]:
        """Return the trees under its roots, for plain comparison."""
        return [root.tree() for root in self.roots]

    def named(self, name: str) -> list[Observed]:
        """Return its observations of that name, in order."""
        return [observation for observation in self.observations if observation.name == name]

    def one(self, name: str) -> Observed:
        """Return its only observation of that name."""
        (observation,) = self.named(name)
        return observation

    def __repr__(self) -> str:
        return f"<Trace {self.name} of {len(self.observations)} observations>"


class SessionReplay(_Steps):
    """What happened in one session: its traces in the order in which they started."""

    def __init__(self, session_id: str | None, observations: Iterable[Observed]) -> None:
        self.session_id = session_id
        self.traces = traces_of(observations)
        self.observations = [observation for trace in self.traces for observation in trace.observations]

    @property
    def users(self) -> list[str]:
        """The users met in it, in order of appearance; more than one is a mix-up."""
        return list(dict.fromkeys(observation.user_id for observation in self.observations if observation.user_id))

    def __repr__(self) -> str:
        return f"<SessionReplay {self.session_id} of {len(self.traces)} traces>"


def traces_of(observations: Iterable[Observed]) -> list[Trace]:
    """Return the traces that *observations* make, in the order in which they started."""
    by_trace: dict[str, list[Observed]] = {}
    for observation in observations:
        by_trace.setdefault(observation.trace_id, []).append(observation)
    return sorted(map(Trace, by_trace.values()), key=lambda trace: trace.started_ns)


def sessions_of(observations: Iterable[Observed]) -> list[SessionReplay]:
    """Return the sessions that *observations* belong to, in the order in which they started; untagged ones last."""
    by_session: dict[str | None, list[Observed]] = {}
    for observation in observations:
        by_session.setdefault(observation.session_id, []).append(observation)
    replays = [SessionReplay(session_id, of_session) for session_id, of_session in by_session.items()]
    return sorted(replays, key=lambda replay: (replay.session_id is None, replay.traces[0].started_ns))


def request_of(body: bytes) -> ExportTraceServiceRequest | None:
    """Return the OTLP request in *body*, or None where it is damaged: the rest of the journal is still of use."""
    try:
        return ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return None


def parsed(text: Any) -> Any:
    """Return an attribute's text as the value it was made from; text that is no JSON is itself."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str | None:
    """Return an attribute that should be text: spans of others may set it to anything."""
    return None if value is None else str(value)


def _mapping(value: Any) -> dict[str, Any]:
    mapping = parsed(value)
    return mapping if isinstance(mapping, dict) else {}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None

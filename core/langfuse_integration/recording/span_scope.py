"""The block that `trace_span` opens: a class of its own, since a generator-based one costs more than the span."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ..internals import faults
from . import otel_api, tracing
from .observation import Observation, ObservationType


class SpanScope:
    """A `with` or `async with` block that is one observation; an exception makes it ERROR and goes on."""

    __slots__ = ("_input", "_metadata", "_name", "_observation", "_type", "ended", "token")

    _observation: Observation
    _type: ObservationType

    def __init__(self, name: str, type: ObservationType, input: Any, metadata: dict[str, Any] | None) -> None:  # noqa: A002
        self._name = name
        self._type = type
        self._input = input
        self._metadata = metadata

    def __enter__(self) -> Observation:
        self.token: Any = None
        self.ended: Any = None
        try:
            observation = tracing.start(self._name, self._type, input=self._input, metadata=self._metadata)
            self._observation = observation
            otel_api.attach(observation, self)
        except Exception as error:  # noqa: BLE001  our own fault
            faults.fault("starting a span", error)
            observation = self._observation = Observation(str(self._name), "span", _Nowhere(), None)
        return observation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.token is not None:
                otel_api.leave(self)
            if error is not None:
                self._observation.fail(error)
            self._observation.finish()
        except Exception as fault:  # noqa: BLE001  our own fault
            faults.fault("ending a span", fault)

    async def __aenter__(self) -> Observation:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


class _Nowhere:
    """A recorder that discards an observation which could not be started."""

    def opened(self, observation: Observation) -> None: ...

    def record(self, observation: Observation) -> None: ...

    def score(self, score: Any) -> None: ...

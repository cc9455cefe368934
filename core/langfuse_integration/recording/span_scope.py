"""The block that `trace_span` opens: a class of its own, since a generator-based one costs more than the span."""

from __future__ import annotations

import sys
from types import FrameType, TracebackType
from typing import Any

from ..internals import faults, garbage
from ..internals.generator_blocks import GENERATOR, GeneratorBlocks
from . import ambient, otel_api, tracing
from .anchor import Parent
from .observation import Observation, ObservationType

_generators: GeneratorBlocks[Observation] = GeneratorBlocks()


def _of_generator() -> Parent | None:
    """Return the observation of a block that a running generator holds open: its steps may run in other contexts."""
    return _generators.innermost() if _generators.by_frame else None


class SpanScope:
    """A `with` or `async with` block that is one observation; an exception makes it ERROR and goes on."""

    __slots__ = ("_frame", "_input", "_metadata", "_name", "_observation", "_type", "ended", "token")

    _observation: Observation
    _type: ObservationType

    def __init__(self, name: str, type: ObservationType, input: Any, metadata: dict[str, Any] | None) -> None:  # noqa: A002
        self._name = name
        self._type = type
        self._input = input
        self._metadata = metadata
        self._frame: FrameType | None = None

    def __enter__(self) -> Observation:
        self.token: Any = None
        self.ended: Any = None
        try:
            observation = tracing.start(self._name, self._type, input=self._input, metadata=self._metadata)
            self._observation = observation
            otel_api.attach(observation, self)
            frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            if frame.f_code.co_flags & GENERATOR:
                self._open_in(frame)
        except Exception as error:  # noqa: BLE001  our own fault
            faults.fault("starting a span", error)
            observation = self._observation = Observation(str(self._name), "span", _Nowhere(), None)
        return observation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._frame is not None:
                _generators.close(self._frame, self._observation)
                if garbage.is_collecting():
                    self.token = None
            if self.token is not None:
                otel_api.leave(self)
            if error is not None:
                self._observation.fail(error)
            self._observation.finish()
        except Exception as fault:  # noqa: BLE001  our own fault
            faults.fault("ending a span", fault)

    async def __aenter__(self) -> Observation:
        observation = self.__enter__()
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if frame.f_code.co_flags & GENERATOR:
            self._open_in(frame)
        return observation

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _open_in(self, frame: FrameType) -> None:
        self._frame = frame
        ambient.register(_of_generator)
        _generators.open(frame, self._observation)


class _Nowhere:
    """A recorder that discards an observation which could not be started."""

    def opened(self, observation: Observation) -> None: ...

    def record(self, observation: Observation) -> None: ...

    def score(self, score: Any) -> None: ...

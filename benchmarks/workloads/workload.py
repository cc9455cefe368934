"""A traced application that can run any number of times, and the clocks read around its runs."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Self

from ..contender import Contender


class Reading(NamedTuple):
    """What some runs took, in nanoseconds: elapsed, CPU of the calling thread, CPU of the whole process."""

    wall_ns: int
    thread_ns: int
    process_ns: int

    @classmethod
    def now(cls) -> Self:
        """Return the clocks as they stand."""
        return cls(time.perf_counter_ns(), time.thread_time_ns(), time.process_time_ns())

    def since(self, start: Reading) -> Reading:
        """Return the differences to *start*."""
        return Reading(*(now - then for now, then in zip(self, start, strict=True)))


class Workload:
    """An application and the contender that traces it.

    Attributes:
        about: what it does, in a few words.
        runs: how many runs of the application one turn is.
        turns: how many turns make a first guess at a round.
        watch: a block around the turns, without what is set up before them.
    """

    about: ClassVar[str]
    runs: ClassVar[int] = 1
    turns: ClassVar[int] = 50

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.watch: AbstractContextManager[Any] = nullcontext()
        self.build()

    def build(self) -> None:
        """Set the application up: what this takes is not measured."""

    def renew_threads(self) -> None:
        """Replace pooled threads: the call counter sees only threads that start while it counts."""

    def turn(self) -> None:
        """Run the application once (or `runs` times)."""
        raise NotImplementedError

    def measure(self, turns: int) -> tuple[Reading, Reading]:
        """Take some turns; return the clocks before and after."""
        turn = self.turn
        with self.watch:
            before = Reading.now()
            for _ in range(turns):
                turn()
            return before, Reading.now()


class AsyncWorkload(Workload):
    """A workload under asyncio; one event loop serves the whole process."""

    def __init__(self, contender: Contender) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(contender)

    def renew_threads(self) -> None:
        """Give the event loop another pool of threads."""
        self.loop.set_default_executor(ThreadPoolExecutor())

    async def turn_async(self) -> Any:
        """Run the application once (or `runs` times)."""
        raise NotImplementedError

    async def measure_async(self, turns: int) -> tuple[Reading, Reading]:
        """Take some turns; return the clocks before and after."""
        with self.watch:
            before = Reading.now()
            for _ in range(turns):
                await self.turn_async()
            return before, Reading.now()

    def measure(self, turns: int) -> tuple[Reading, Reading]:
        """Take some turns in the event loop."""
        return self.loop.run_until_complete(self.measure_async(turns))

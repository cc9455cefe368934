"""The comparison: every contender with every workload, in interleaved rounds, each against the untraced one."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from .contender import Delivery
from .contenders import FLOOR, NONE, PLACES
from .environments import Unavailable
from .processes import Participant, Receiver, Stopped
from .workloads import framework_of, workload

ROUND_S = 0.03
"""CPU seconds of the floor's process in one round: short, so that a disturbance falls on all contenders or on none."""
WARM_UP = 2

CLOCKS = ("wall", "thread", "process")


class Added(NamedTuple):
    """What tracing adds to one run by one clock.

    Attributes:
        us: the median of the differences to the untraced run of the same round, in microseconds.
        low_us, high_us: their quartiles.
        ratio: `us` as a multiple of the floor's, or None where the floor added nothing measurable.
    """

    us: float
    low_us: float
    high_us: float
    ratio: float | None


class Line(NamedTuple):
    """One contender in one workload: by clock, what it adds; spans of one run, or None if unknown."""

    added: dict[str, Added]
    spans: float | None


class Result(NamedTuple):
    """One workload.

    Attributes:
        runs: how many runs of the application one round was.
        untraced_us: what one run takes without tracing, by clock.
        lines: by contender.
        missing: why a contender did not take part, by contender.
    """

    runs: int
    rounds: int
    untraced_us: dict[str, float]
    lines: dict[str, Line]
    missing: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        lines = {
            name: {"added": {clock: added._asdict() for clock, added in line.added.items()}, "spans": line.spans}
            for name, line in self.lines.items()
        }
        return {**self._asdict(), "lines": lines}


def compare(name: str, contenders: Sequence[str], rounds: int, delivery: Delivery) -> Result:
    """Measure the workload *name* with those *contenders* that can trace it; none and the floor always take part."""
    chosen = [contender for contender in PLACES if contender in (NONE, FLOOR, *contenders)]
    chosen = [contender for contender in chosen if framework_of(name) in PLACES[contender].frameworks]
    missing: dict[str, str] = {}
    taking_part: dict[str, Participant] = {}
    with Receiver() as receiver:
        try:
            for contender in chosen:
                try:
                    taking_part[contender] = Participant(contender, name, delivery, receiver.address)
                except (Stopped, Unavailable) as error:
                    missing[contender] = str(error)
            kind = workload(name)
            turns = _turns(taking_part[FLOOR], kind.turns)
            readings = _rounds(taking_part, rounds, turns, missing, name)
        finally:
            for participant in taking_part.values():
                participant.stop()
    runs = turns * kind.runs
    untraced = {clock: median(each[clock + "_ns"] for each in readings[NONE]) / runs / 1e3 for clock in CLOCKS}
    lines = {contender: _line(contender, readings, runs) for contender in readings if contender != NONE}
    return Result(runs, rounds, untraced, lines, missing)


def _turns(floor: Participant, guess: int) -> int:
    floor.measure(guess)
    took_s = floor.measure(guess)["process_ns"] / 1e9
    return max(1, round(guess * ROUND_S / took_s))


def _rounds(
    taking_part: dict[str, Participant], rounds: int, turns: int, missing: dict[str, str], name: str
) -> dict[str, list[dict[str, int]]]:
    readings: dict[str, list[dict[str, int]]] = {contender: [] for contender in taking_part}
    order = list(taking_part)
    shuffled = random.Random(name)
    for number in range(-WARM_UP, rounds):
        shuffled.shuffle(order)
        for contender in tuple(order):
            try:
                reading = taking_part[contender].measure(turns)
            except Stopped as error:
                missing[contender] = f"stopped: {error}"
                order.remove(contender)
                readings.pop(contender)
                continue
            if number >= 0:
                readings[contender].append(reading)
        _say(f"{name}: round {number + 1} of {rounds}")
    _say("")
    return readings


def _say(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress:40}\r", end="", file=sys.stderr, flush=True)


def _line(contender: str, readings: dict[str, list[dict[str, int]]], runs: int) -> Line:
    spans = [each["spans"] / runs for each in readings[contender] if "spans" in each]
    added = {clock: _added(contender, readings, runs, clock + "_ns") for clock in CLOCKS}
    return Line(added, median(spans) if spans else None)


def _added(contender: str, readings: dict[str, list[dict[str, int]]], runs: int, key: str) -> Added:
    own = list(_differences(readings[contender], readings[NONE], runs, key))
    floor = median(_differences(readings[FLOOR], readings[NONE], runs, key))
    low, middle, high = quantiles(own, n=4) if len(own) > 1 else own * 3
    return Added(middle, low, high, middle / floor if floor > 0 else None)


def _differences(traced: list[dict[str, int]], untraced: list[dict[str, int]], runs: int, key: str) -> Iterable[float]:
    return ((mine[key] - theirs[key]) / runs / 1e3 for mine, theirs in zip(traced, untraced, strict=True))

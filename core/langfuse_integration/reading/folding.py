"""Folding of repeated steps: of many equal ones, the first two and the last are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .replay import Observed

LONGEST_PERIOD = 4
"""Steps in one repetition at most."""
FOLDED_FROM = 5
"""Repetitions from which on the middle is left out."""


class FoldedSteps(NamedTuple):
    """Steps that are left out: how often they are repeated, and what they are."""

    repetitions: int
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        times = "time" if self.repetitions == 1 else "times"
        return f"{' and '.join(self.kinds)} repeated {self.repetitions:,} more {times} ({self.steps:,} steps)"

    @property
    def steps(self) -> int:
        """How many steps are left out."""
        return self.repetitions * len(self.kinds)


def folded(children: Sequence[Observed]) -> Iterator[Observed | FoldedSteps]:
    """Yield *children* in their order, with a FoldedSteps instead of the middle of a repetition."""
    shapes = [_shape(child) for child in children]
    place = 0
    while place < len(children):
        period, repetitions = _repetition(shapes, place)
        if repetitions < FOLDED_FROM:
            yield children[place]
            place += 1
            continue
        end = place + period * repetitions
        yield from children[place : place + 2 * period]
        yield FoldedSteps(repetitions - 3, tuple(_named(child) for child in children[place : place + period]))
        yield from children[end - period : end]
        place = end


def _shape(child: Observed) -> tuple[str, str, str | None, bool]:
    return _word(child), child.name, child.model, child.level == "ERROR"


def _named(child: Observed) -> str:
    return child.name if child.type == "tool" else _word(child)


def _word(child: Observed) -> str:
    return "think" if child.is_think else "act" if child.is_act else child.type


def _repetition(shapes: Sequence[object], start: int) -> tuple[int, int]:
    """Return the period that repeats most steps from *start* on, and how often it does."""
    best = (1, 1)
    for period in range(1, LONGEST_PERIOD + 1):
        end = start + period
        while end < len(shapes) and shapes[end] == shapes[end - period]:
            end += 1
        repetitions = (end - start) // period
        if repetitions * period > best[0] * best[1] and repetitions > 1:
            best = (period, repetitions)
    return best

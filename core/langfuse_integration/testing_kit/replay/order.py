"""Steps that an application asked for in another order than recorded."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from .flows import is_after, moment
from .recording import RecordedStep
from .sentences import named


class Asking(NamedTuple):
    """A step that was asked for.

    Attributes:
        flow: the task or thread that asked.
        at: the moment, see `flows`.
    """

    step: RecordedStep
    flow: Hashable
    at: int

    @classmethod
    def now(cls, step: RecordedStep, flow: Hashable) -> Asking:
        """Return one that is made now."""
        return cls(step, flow, moment())


Pair = tuple[Asking, Asking]


def moved_steps(askings: Iterable[Asking], steps: Iterable[RecordedStep]) -> Iterator[tuple[RecordedStep, str]]:
    """Yield the fewest steps whose moving explains the order, each with a sentence that names one that it passed.

    Only an order that means something counts: not that of calls which overlapped.

    Args:
        askings: in the order in which they were made.
        steps: of the recording.
    """
    groups = _groups(steps)
    pairs = [pair for pair in _turned(askings) if _means_something(*pair, groups)]
    while pairs:
        counts = Counter(asking.step.number for pair in pairs for asking in pair)
        number = max(counts, key=lambda number: (counts[number], number))
        passed = [pair for pair in pairs if _has(pair, number)]
        early, late = passed[0]
        if early.step.number == number:
            yield early.step, f"{named(early.step)} was asked for before {named(late.step)}"
        else:
            last = max((early for early, _ in passed), key=lambda asking: asking.at)
            yield late.step, f"{named(late.step)} was asked for after {named(last.step)}"
        pairs = [pair for pair in pairs if not _has(pair, number)]


def _turned(askings: Iterable[Asking]) -> Iterator[Pair]:
    """Yield the pairs of which the step that was recorded first was asked for last."""
    earlier: list[tuple[int, Asking]] = []
    for late in askings:
        first = bisect_right(earlier, late.step.number, key=_number)
        for _, early in earlier[first:]:
            yield early, late
        insort(earlier, (late.step.number, late), key=_number)


def _has(pair: Pair, number: int) -> bool:
    return number in (pair[0].step.number, pair[1].step.number)


def _number(entry: tuple[int, Asking]) -> int:
    return entry[0]


def _groups(steps: Iterable[RecordedStep]) -> dict[int, int]:
    """Return the group of each step: steps that overlapped, and those that overlapped with the same, are one."""
    groups: dict[int, int] = {}

    def group(number: int) -> int:
        while (above := groups.setdefault(number, number)) != number:
            groups[number] = groups.setdefault(above, above)
            number = above
        return number

    for step in steps:
        for other in step.alongside:
            groups[group(step.number)] = group(other)
    return {number: group(number) for number in list(groups)}


def _means_something(early: Asking, late: Asking, groups: dict[int, int]) -> bool:
    """Return whether the order of two calls is the application's doing.

    It is where one flow made both, where different thinks of one agent asked for them, and where one was over before
    the flow of the other began. In that case the recorded order may still be chance, if both ran among calls that
    overlapped.
    """
    one, other = early.step, late.step
    if one.number in other.alongside:
        return False
    if early.flow == late.flow:
        return True
    acts = one.think is not None and other.think is not None
    if acts and one.think != other.think and one.agent == other.agent is not None and one.turn == other.turn:
        return True
    by_chance = one.number in groups and groups.get(one.number) == groups.get(other.number)
    return not by_chance and is_after(late.flow, late.at, early.flow, early.at)

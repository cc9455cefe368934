"""Steps that an application asked for in another order than recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from .recording import RecordedStep


class Asking(NamedTuple):
    """A step that was asked for, and the task or thread that asked."""

    step: RecordedStep
    flow: Hashable


def moved_steps(askings: list[Asking]) -> Iterator[tuple[RecordedStep, RecordedStep, bool]]:
    """Yield the fewest steps whose moving explains the order, each with one that it passed, and whether it came early.

    Only an order that means something counts: of calls that one task made, or that different thinks of one agent asked
    for; not of calls that overlapped.

    Args:
        askings: in the order in which they were made.
    """
    pairs = [
        (early.step, late.step)
        for place, early in enumerate(askings)
        for late in askings[place + 1 :]
        if late.step.number < early.step.number and _means_something(early, late)
    ]
    while pairs:
        counts = Counter(step.number for pair in pairs for step in pair)
        most = max(counts.values())
        candidates = [step for pair in pairs for step in pair if counts[step.number] == most]
        moved = max(candidates, key=lambda step: step.number)
        early, late = next(pair for pair in pairs if moved in pair)
        yield (moved, late, True) if moved is early else (moved, early, False)
        pairs = [pair for pair in pairs if moved not in pair]


def _means_something(one: Asking, other: Asking) -> bool:
    if one.step.number in other.step.alongside:
        return False
    if one.flow == other.flow:
        return True
    acts = one.step.think is not None and other.step.think is not None
    return acts and one.step.think != other.step.think and one.step.agent == other.step.agent is not None

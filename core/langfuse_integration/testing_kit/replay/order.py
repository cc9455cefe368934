"""Steps that an application asked for in another order than recorded."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby
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
    groups, asked = _groups(steps), list(askings)
    turned = list(_turned(asked))
    pairs = [pair for pair in turned if _means_something(*pair, groups)]
    exchanged = _exchanged_turns(turned, asked) & {_turns(pair) for pair in pairs}
    pairs = [pair for pair in pairs if _turns(pair) not in exchanged]
    yield from _moved_turns(exchanged, {asking.step.turn: asking.step for asking in reversed(asked)})
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


def _exchanged_turns(turned: Iterable[Pair], asked: Iterable[Asking]) -> set[tuple[int, int]]:
    """Return the turns of which all steps of the later one came before all of the earlier; not of one step each."""
    sizes = Counter(asking.step.turn for asking in asked)
    counts = Counter(map(_turns, turned))
    exchanged = {turns for turns, count in counts.items() if count == sizes[turns[0]] * sizes[turns[1]]}
    exchanged = {(early, late) for early, late in exchanged if early != late}
    return exchanged if any(counts[turns] > 1 for turns in exchanged) else set()


def _moved_turns(
    exchanged: set[tuple[int, int]], firsts: dict[int, RecordedStep]
) -> Iterator[tuple[RecordedStep, str]]:
    """Yield the fewest turns whose moving explains their order, with a sentence for those that moved together."""
    moves: dict[int, str] = {}
    while exchanged:
        counts = Counter(turn for turns in exchanged for turn in turns)
        moved = max(counts, key=lambda turn: (counts[turn], turn))
        passed = [turns for turns in exchanged if moved in turns]
        is_early = passed[0][0] == moved
        other = min(late for _, late in passed) if is_early else max(early for early, _ in passed)
        moves[moved] = f"asked for {'before' if is_early else 'after'} turn {other}"
        exchanged = {turns for turns in exchanged if moved not in turns}
    for _, together in groupby(enumerate(sorted(moves)), key=lambda entry: (entry[1] - entry[0], moves[entry[1]])):
        turns = [turn for _, turn in together]
        who = f"turn {turns[0]} was" if len(turns) == 1 else f"turns {turns[0]} to {turns[-1]} were"
        yield firsts[turns[0]], f"{who} {moves[turns[0]]}"


def _turns(pair: Pair) -> tuple[int, int]:
    return pair[0].step.turn, pair[1].step.turn


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

"""Steps that were not asked for: one sentence for what goes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from .inputs import ComparedInput
from .recording import RecordedStep
from .sentences import named


class Missing(NamedTuple):
    """Steps that follow each other, and that the application has not asked for.

    Attributes:
        turns: their numbers, where all of what they asked for is missing; else None.
    """

    steps: list[RecordedStep]
    turns: range | None

    def __str__(self) -> str:
        first, last = self.steps[0], self.steps[-1]
        if first is last:
            return f"{named(first)} was not asked for"
        both = f"{named(first)} to {named(last)}"
        if self.turns is None:
            return f"{both} were not asked for"
        if len(self.turns) == 1:
            return f"turn {first.turn} was not asked for ({both})"
        return f"turns {first.turn} to {last.turn} were not asked for ({both})"


def missing_in(expected: Sequence[RecordedStep], unused: Sequence[RecordedStep]) -> Iterator[Missing]:
    """Yield what is missing: turns one after the other, and steps of one agent one after the other in a turn.

    Args:
        expected: all steps that had to answer, in their order.
        unused: those that have not.
    """
    left = {step.number for step in unused}
    counts = Counter(step.turn for step in unused)
    whole = {turn for turn, count in Counter(step.turn for step in expected).items() if counts[turn] == count}
    for is_missing, steps in groupby(expected, key=lambda step: step.number in left):
        for (is_whole, *_), part in groupby(steps, key=lambda step: _together(step, whole)) if is_missing else ():
            found = list(part)
            yield Missing(found, range(found[0].turn, found[-1].turn + 1) if is_whole else None)


def _together(step: RecordedStep, whole: set[int]) -> tuple[bool, int | None, str | None]:
    return (True, None, None) if step.turn in whole else (False, step.turn, step.agent)


class Shortened:
    """Histories that lack recorded messages, and are as recorded else: that follows where their turns are missing."""

    def __init__(self) -> None:
        self._removed: list[tuple[RecordedStep, set[str]]] = []

    def note(self, step: RecordedStep, recorded: ComparedInput, asked: ComparedInput) -> None:
        """Note the history of a step."""
        self._removed.append((step, {*(recorded.messages or ())} - {*(asked.messages or ())}))

    def explained_by(
        self, missing: Missing, steps: Sequence[RecordedStep], key_of: Callable[[RecordedStep], ComparedInput]
    ) -> set[int]:
        """Return the numbers of the later steps whose histories lack only what was said from the missing turns on.

        Args:
            steps: of the recording.
            key_of: returns the recorded input of a step.
        """
        turns = missing.turns
        if turns is None or not self._removed:
            return set()
        before = {part for step in steps if step.turn < turns.start for part in key_of(step).messages or ()}
        return {
            step.number for step, removed in self._removed if step.turn >= turns.stop and before.isdisjoint(removed)
        }

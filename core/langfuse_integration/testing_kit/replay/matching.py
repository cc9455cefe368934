"""Which recorded step answers a call: by its place in the tree first, then by its order there.

A place is the kind of a call, the nearest agent above it, and the name of what is called unless it is a model. Steps
that were recorded one after the other are expected in that order; steps that overlapped may come in any. A call takes
the expected step whose input is the same, else any unused step of its place with the same input, else the first
expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .question import QuestionKind
from .recording import RecordedStep


class CallPlace(NamedTuple):
    """Where calls are interchangeable but for their order."""

    kind: QuestionKind
    agent: str | None
    request: str | None

    @classmethod
    def of(cls, step: RecordedStep) -> CallPlace:
        """Return the place of a recorded step."""
        return cls(step.kind, step.agent, step.name if step.kind != "model" else None)


@dataclass(slots=True)
class Match:
    """A step that answers a call.

    Attributes:
        same: the input is the same as recorded, but for volatile parts.
    """

    step: RecordedStep
    same: bool


class Matcher:
    """Hands out the steps of a recording, each once.

    Args:
        key: returns an input as a text that is equal for inputs that count as the same.
    """

    def __init__(self, steps: Iterable[RecordedStep], key: Callable[[Any], str]) -> None:
        self._steps = list(steps)
        self._key = key
        self._keys: dict[int, str] = {}
        self._used: set[int] = set()
        self._as_other: dict[int, str] = {}

    def match(self, place: CallPlace, value: Any, turn: range | None) -> Match | None:
        """Return the step for a call at *place* that asks *value*, and mark it as used; None if none is left.

        Args:
            turn: the numbers of the current turns; steps of others do not answer. None allows all.
        """
        unused = [step for step in self._left(turn) if CallPlace.of(step) == place]
        if not unused:
            return None
        asked = self._key(value)
        expected = [step for step in unused if self._is_expected(step, unused)]
        chosen = next((step for step in (*expected, *unused) if self.key_of(step) == asked), None)
        same = chosen is not None
        if chosen is None:
            chosen = expected[0]
            self._as_other[chosen.number] = asked
        self._used.add(chosen.number)
        return Match(chosen, same)

    def taken_by_another(self, place: CallPlace, value: Any) -> RecordedStep | None:
        """Return the used step that recorded *value* but answered a call that asked something else; once."""
        asked = self._key(value)
        for step in self._steps:
            if step.number in self._as_other and CallPlace.of(step) == place and self.key_of(step) == asked:
                del self._as_other[step.number]
                return step
        return None

    def expected(self, kind: QuestionKind, agent: str | None, turn: range | None) -> RecordedStep | None:
        """Return the first unused step of *kind* below *agent*, or None."""
        return next((step for step in self._left(turn) if step.kind == kind and step.agent == agent), None)

    def anywhere(self, kind: QuestionKind, request: str | None, turn: range | None) -> RecordedStep | None:
        """Return the first unused step of *kind*, and with that request, below any agent."""
        for step in self._left(turn):
            if step.kind == kind and (kind == "model" or step.name == request):
                return step
        return None

    def use(self, step: RecordedStep) -> None:
        """Mark a step as used."""
        self._used.add(step.number)

    def use_inside(self, step: RecordedStep) -> None:
        """Mark the steps that ran inside of *step* as used: its answer stands for them."""
        inside = {step.number}
        for other in self._steps:
            if other.inside in inside:
                inside.add(other.number)
        self._used |= inside

    def is_used(self, step: RecordedStep) -> bool:
        """Return whether a step has answered a call."""
        return step.number in self._used

    def unused(self) -> list[RecordedStep]:
        """Return the steps that could have answered and have not."""
        return [step for step in self._left(None) if step.exact is not None]

    def key_of(self, step: RecordedStep) -> str:
        """Return the recorded input as it is compared."""
        if step.number not in self._keys:
            self._keys[step.number] = self._key(step.input)
        return self._keys[step.number]

    def _left(self, turn: range | None) -> list[RecordedStep]:
        return [step for step in self._steps if step.number not in self._used and (turn is None or step.turn in turn)]

    @staticmethod
    def _is_expected(step: RecordedStep, unused: list[RecordedStep]) -> bool:
        """Return whether no other unused step of the place had to end before this one."""
        return all(
            other.number >= step.number or other.number in step.alongside for other in unused if other is not step
        )

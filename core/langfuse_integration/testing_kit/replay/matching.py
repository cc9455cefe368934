"""Which recorded step answers a call: by its place in the tree first, then by its order there.

A place is the kind of a call, the nearest agent above it, and the name of what is called unless it is a model. Steps
that were recorded one after the other are expected in that order; steps that overlapped may come in any. A call takes
the expected step whose input is the same, else any unused step of its place with the same input, also of an earlier
turn, else the step with that input that a further call has taken before, else the first expected. Where servers have
tools of one name, a step of the server that is asked comes before those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .inputs import ComparedInput
from .question import QuestionKind
from .recording import RecordedStep

Key = Callable[[RecordedStep], ComparedInput]
"""Returns the recorded input as it is compared."""


class CallPlace(NamedTuple):
    """Where calls are interchangeable but for their order."""

    kind: QuestionKind
    agent: str | None
    request: str | None

    @classmethod
    def of(cls, step: RecordedStep) -> CallPlace:
        """Return the place of a recorded step."""
        return cls(step.kind, step.agent, step.name if step.kind != "model" else None)


class Call(NamedTuple):
    """A call that needs a step.

    Attributes:
        turn: the numbers of the current turns; None allows all.
        server: the name of the MCP server that is asked, or None.
    """

    place: CallPlace
    asked: ComparedInput
    turn: range | None = None
    server: str | None = None


@dataclass(slots=True)
class Match:
    """A step that answers a call.

    Attributes:
        same: the input is the same as recorded, but for volatile parts.
        after_further: a further call has taken the step before.
    """

    step: RecordedStep
    same: bool
    after_further: bool = False


class _PlaceSteps:
    """The steps of one place, in their order."""

    def __init__(self) -> None:
        self.steps: list[RecordedStep] = []
        self.by_input: dict[ComparedInput, list[RecordedStep]] | None = None
        self._first = 0

    def unused(self, used: set[int], turn: range | None) -> Iterable[RecordedStep]:
        """Yield the steps of *turn* that have not answered."""
        steps = self.steps
        while self._first < len(steps) and steps[self._first].number in used:
            self._first += 1
        for at in range(self._first, len(steps)):
            step = steps[at]
            if step.number not in used and (turn is None or step.turn in turn):
                yield step

    def same(self, asked: ComparedInput, key: Key) -> Sequence[RecordedStep]:
        """Return the steps with that input, used or not."""
        if self.by_input is None:
            self.by_input = {}
            for step in self.steps:
                self.by_input.setdefault(key(step), []).append(step)
        return self.by_input.get(asked, ())


class Matcher:
    """Hands out the steps of a recording, each once.

    Args:
        key: returns the input of a step as it is compared.
    """

    def __init__(self, steps: Iterable[RecordedStep], key: Key) -> None:
        self._steps = list(steps)
        self._make_key = key
        self._keys: dict[int, ComparedInput] = {}
        self._places: dict[CallPlace, _PlaceSteps] = {}
        self._inside: dict[int, list[int]] = {}
        for step in self._steps:
            self._places.setdefault(CallPlace.of(step), _PlaceSteps()).steps.append(step)
            if step.inside is not None and step.inside < step.number:
                self._inside.setdefault(step.inside, []).append(step.number)
        self._used: set[int] = set()
        self._as_other: set[int] = set()
        self._instead: set[int] = set()

    def forget(self) -> None:
        """Compare all inputs anew."""
        self._keys.clear()
        for place in self._places.values():
            place.by_input = None

    def match(self, call: Call) -> Match | None:
        """Return the step for a call, and mark it as used; None if none is left."""
        place = self._places.get(call.place)
        if place is None:
            return None
        first = next(iter(place.unused(self._used, call.turn)), None)
        if first is not None and self._is_of(first, call) and self.key_of(first) == call.asked:
            return self._taken(first, same=True)
        known = place.same(call.asked, self.key_of)
        step = self._same_input(call, place, [step for step in known if step.number not in self._used])
        if step is not None:
            return self._taken(step, same=True)
        for step in known:
            if step.number in self._as_other or step.number in self._instead:
                self._as_other.discard(step.number)
                self._instead.discard(step.number)
                return Match(step, same=True, after_further=True)
        if first is None:
            return None
        expected = self._expected(place, call.turn)
        step = next((step for step in expected if self._is_of(step, call)), first)
        self._as_other.add(step.number)
        return self._taken(step, same=False)

    def _same_input(self, call: Call, place: _PlaceSteps, unused: list[RecordedStep]) -> RecordedStep | None:
        turn = call.turn
        here = [step for step in unused if turn is None or step.turn in turn]
        before = [step for step in unused if turn is not None and step.turn < turn.start]
        if len(here) > 1:
            expected = {step.number for step in self._expected(place, turn)}
            here.sort(key=lambda step: (not self._is_of(step, call), step.number not in expected))
        elif not here:
            here = before
        return here[0] if here else None

    def _expected(self, place: _PlaceSteps, turn: range | None) -> list[RecordedStep]:
        """Return the unused steps of a place before which no other had to end."""
        expected: list[RecordedStep] = []
        before: list[RecordedStep] = []
        for step in place.unused(self._used, turn):
            if before and step.number > max(before[0].alongside, default=0):
                break
            if all(other.number in step.alongside for other in before):
                expected.append(step)
            before.append(step)
        return expected

    @staticmethod
    def _is_of(step: RecordedStep, call: Call) -> bool:
        return call.server is None or step.server is None or step.server == call.server

    def _taken(self, step: RecordedStep, *, same: bool) -> Match:
        self._used.add(step.number)
        return Match(step, same)

    def was_asked(self, place: CallPlace, asked: ComparedInput) -> bool:
        """Return whether a step of that place with that input has answered."""
        steps = self._places.get(place)
        return steps is not None and bool(steps.same(asked, self.key_of))

    def expected(self, kind: QuestionKind, agent: str | None, turn: range | None) -> RecordedStep | None:
        """Return the first unused step of *kind* below *agent*, or None."""
        return next((step for step in self._left(turn) if step.kind == kind and step.agent == agent), None)

    def anywhere(self, kind: QuestionKind, request: str | None, turn: range | None) -> RecordedStep | None:
        """Return the first unused step of *kind*, and with that request, below any agent."""
        for step in self._left(turn):
            if step.kind == kind and (kind == "model" or step.name == request):
                return step
        return None

    def use(self, step: RecordedStep, *, instead: bool = False) -> None:
        """Mark a step as used.

        Args:
            instead: by a call of another place, so that it still answers its own.
        """
        self._used.add(step.number)
        if instead:
            self._instead.add(step.number)

    def use_inside(self, step: RecordedStep) -> None:
        """Mark the steps that ran inside of *step* as used: its answer stands for them."""
        waiting = [step.number]
        while waiting:
            inside = self._inside.get(waiting.pop(), ())
            waiting += inside
            self._used.update(inside)

    def is_used(self, step: RecordedStep) -> bool:
        """Return whether a step has answered a call."""
        return step.number in self._used

    def unused(self) -> list[RecordedStep]:
        """Return the steps that could have answered and have not."""
        return [step for step in self._left(None) if step.exact is not None]

    def key_of(self, step: RecordedStep) -> ComparedInput:
        """Return the recorded input as it is compared."""
        key = self._keys.get(step.number)
        if key is None:
            key = self._keys[step.number] = self._make_key(step)
        return key

    def _left(self, turn: range | None) -> Iterable[RecordedStep]:
        return (step for step in self._steps if step.number not in self._used and (turn is None or step.turn in turn))

"""The turns of a replayed session, and which of them is the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from .recording import RecordedTurn

Begin = Callable[[range], None]
"""Called with the numbers of the turns that become the current ones."""


class ReplayTurn:
    """One recorded turn; reading its input makes it the current one, whose steps answer.

    Attributes:
        number: from 1 on.
        name: of the root row: the agent, graph or chain.
        output: of the root row, in plain values.
        reply: what the application answered, as text, or None.
    """

    def __init__(self, turn: RecordedTurn, numbers: range, begin: Begin) -> None:
        self.number = turn.number
        self.name = turn.name
        self.output = turn.output
        self.reply = turn.reply
        self._turn = turn
        self._numbers = numbers
        self._begin = begin

    @property
    def input(self) -> Any:
        """The input of the root row, in plain values."""
        self._begin(self._numbers)
        return self._turn.input

    @property
    def text(self) -> str | None:
        """What the user said last, or the value that an interrupted run is resumed with; None for neither."""
        self._begin(self._numbers)
        return self._turn.text

    def __repr__(self) -> str:
        return f"<ReplayTurn {self.number} {self.name}>"


class ReplayTurns(Sequence[ReplayTurn]):
    """The turns of a session; a loop makes each the current one.

    Where an application starts several runs for one input, a slice takes the first of each: `turns[::3]`. The runs
    between them belong to the one before.

    Args:
        last: the number of the last turn of the session.
    """

    def __init__(self, turns: Sequence[RecordedTurn], last: int, begin: Begin) -> None:
        self._turns = turns
        self._last = last
        self._begin = begin
        numbers = sorted(turn.number for turn in turns)
        ends = dict(zip(numbers, [*numbers[1:], last + 1], strict=False))
        self._numbers = {number: range(number, ends[number]) for number in numbers}

    def __len__(self) -> int:
        return len(self._turns)

    @overload
    def __getitem__(self, index: int) -> ReplayTurn: ...
    @overload
    def __getitem__(self, index: slice) -> ReplayTurns: ...
    def __getitem__(self, index: int | slice) -> ReplayTurn | ReplayTurns:
        if isinstance(index, slice):
            return ReplayTurns(self._turns[index], self._last, self._begin)
        turn = self._turns[index]
        return ReplayTurn(turn, self._numbers[turn.number], self._begin)

    def __iter__(self) -> Iterator[ReplayTurn]:
        for turn in self._turns:
            numbers = self._numbers[turn.number]
            self._begin(numbers)
            yield ReplayTurn(turn, numbers, self._begin)

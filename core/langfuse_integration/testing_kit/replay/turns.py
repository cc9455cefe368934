"""The turns of a replayed session, and which of them is the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .recording import RecordedTurn


class Turns(Sequence[RecordedTurn]):
    """The turns of a session; taking one makes it the current one, whose steps answer."""

    def __init__(self, turns: Sequence[RecordedTurn], begin: Callable[[RecordedTurn], None]) -> None:
        self._turns = turns
        self._begin = begin

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Turns(self._turns[index], self._begin)
        turn = self._turns[index]
        self._begin(turn)
        return turn

    def __iter__(self) -> Iterator[RecordedTurn]:
        for turn in self._turns:
            self._begin(turn)
            yield turn

"""Divergences: what an application did in another way than recorded, one sentence each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from .recording import RecordedStep

DivergenceKind = Literal["differs", "further", "replaced", "missing", "order", "agent", "server", "network"]


@dataclass(slots=True)
class Divergence:
    """One divergence.

    Attributes:
        step: the number of the recorded step, or of the last one before it.
        label: of that step: `think 2 of herder`.
        text: the sentence.
        lines: the differences, as lines that begin with - for what was recorded and + for what is now.
    """

    kind: DivergenceKind
    step: int
    label: str
    text: str
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"    {line}" for line in self.lines)])

    def is_meant_by(self, allowed: int | str) -> bool:
        """Return whether *allowed* is the step's number, its label, or a part of the sentence and its lines."""
        if isinstance(allowed, int):
            return self.step == allowed
        return allowed in str(self)


class Divergences:
    """The divergences of a replay, and which of them are wanted."""

    def __init__(self) -> None:
        self._noted: list[Divergence] = []
        self._allowed: list[int | str] = []

    @property
    def all(self) -> list[Divergence]:
        """Every divergence so far, by the steps."""
        return sorted(self._noted, key=lambda divergence: divergence.step)

    @property
    def unwanted(self) -> list[Divergence]:
        """The divergences so far that are not allowed, by their steps."""
        return [each for each in self.all if not any(each.is_meant_by(allowed) for allowed in self._allowed)]

    def allow(self, wanted: Iterable[int | str]) -> None:
        """Allow divergences: see `Divergence.is_meant_by`."""
        self._allowed += wanted

    def note(self, kind: DivergenceKind, step: RecordedStep | None, text: str, lines: Iterable[str] = ()) -> None:
        """Note a divergence, once."""
        number, label = (step.number, step.label) if step is not None else (0, "")
        if kind == "differs" or not any(each.text == text for each in self._noted):
            self._noted.append(Divergence(kind, number, label, text, list(lines)))

    def withdraw(self, kinds: Collection[DivergenceKind], steps: Collection[int]) -> None:
        """Forget what has turned out to be another divergence, at these steps."""
        self._noted = [each for each in self._noted if each.kind not in kinds or each.step not in steps]

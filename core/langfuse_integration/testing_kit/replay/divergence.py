"""Divergences: what an application did in another way than recorded, one sentence each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

DivergenceKind = Literal["differs", "further", "replaced", "missing", "order", "agent", "network"]


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

"""A score: a value that somebody gave to an observation."""

from __future__ import annotations

from .ids import new_bits


class Score:
    """A value given to an observation: a number, True or False, or a category as text."""

    __slots__ = ("comment", "id", "name", "span", "trace", "value")

    def __init__(self, trace: int, span: int, name: str, value: float | str | bool, comment: str | None) -> None:
        self.id = f"{new_bits(128):032x}"
        self.trace = trace
        self.span = span
        self.name = name
        self.value = value
        self.comment = comment

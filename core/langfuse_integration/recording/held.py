"""Rows that have ended and are held back, until it is clear where they stand."""

from __future__ import annotations

from .observation import Observation

_COPIED = tuple(name for name in Observation.__slots__ if name != "__weakref__")


class HeldRow(Observation):
    """A copy of a row that has ended: the journal keeps it as open, and a crash delivers it as it is.

    Attributes:
        original: the row that is held back.
    """

    __slots__ = ("original",)
    original: Observation

    @classmethod
    def of(cls, row: Observation, ended_ns: int) -> HeldRow:
        """Return the copy of *row* that ends at *ended_ns*, wall time in ns since 1970."""
        held = cls.__new__(cls)
        for name in _COPIED:
            setattr(held, name, getattr(row, name))
        held.original = row
        held.ended_ns = ended_ns
        return held

    @property
    def waits(self) -> bool:
        """Whether the row is still held back."""
        return not self.original.ended_ns

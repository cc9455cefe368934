"""Attributes that only destinations beside Langfuse get, by the ids of their rows."""

from __future__ import annotations

from collections.abc import Mapping

from ..internals.bounded import BoundedDict

beside: BoundedDict[int, dict[str, str]] = BoundedDict(10_000)
"""Noted while an observation is open, and read when it is encoded; only where there are such destinations."""


def note_beside(span: int, attributes: Mapping[str, str]) -> None:
    """Add attributes to those of the row with this id; of the values of one attribute the last counts."""
    beside[span] = {**beside.get(span, {}), **attributes}

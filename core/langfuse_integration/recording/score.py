"""A score: a value that somebody gave to an observation, a trace or a session."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .ids import new_bits

ScoreValue = float | str | bool
"""A number, True or False, or a category as text."""


class Score:
    """A value given to an observation, or to a whole trace, or to a whole session.

    Attributes:
        trace, span: ids as integers; a span of 0 is the whole trace, a trace of 0 the session.
        session_id: the session that is scored, or None.
        at_ns: wall time in ns since 1970.
        fields: further fields of a score that Langfuse's SDK made, by their names in the API; or None.
    """

    __slots__ = ("at_ns", "comment", "fields", "id", "name", "session_id", "span", "trace", "value")

    def __init__(
        self,
        trace: int,
        span: int,
        name: str,
        value: ScoreValue,
        comment: str | None = None,
        session_id: str | None = None,
    ) -> None:
        self.at_ns = time.time_ns()
        self.id = f"{new_bits(128) ^ self.at_ns:032x}"
        self.trace = trace
        self.span = span
        self.name = name
        self.value = value
        self.comment = comment
        self.session_id = session_id
        self.fields: Mapping[str, Any] | None = None

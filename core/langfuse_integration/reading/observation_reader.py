"""Reads a journal's rows as observations, finished and open, and their totals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..internals.lazy import lazy
from .conditions import Condition
from .database import JournalFile
from .open_observations import OpenObserved
from .replay import Observed
from .totals import Totals
from .totals_cache import RowsVersion, totals_cache, totals_of_bodies

OPEN_LIMIT = 10_000
"""How many open observations are read."""
_HAS_SUMS = "instr(body, CAST('_details' AS BLOB))"
"""A quick test whether a row may report tokens or a cost."""


class ObservationReader(JournalFile):
    """Reads observations; the parts of the archive that read sessions and traces stand on it."""

    def refresh(self) -> None:
        """Read the open observations again, and reopen the file if it was created or replaced."""
        self.__dict__.pop("open_observations", None)
        super().refresh()

    def running(self) -> list[Observed]:
        """Return the open observations of processes that are alive."""
        return [observation for observation in self.open_observations if observation.alive]

    @lazy
    def open_observations(self) -> list[OpenObserved]:
        """The observations that have begun and not ended."""
        rows = self.query("SELECT pid, body FROM open_spans LIMIT :limit", {"limit": OPEN_LIMIT})
        begun = [observation for pid, body in rows for observation in OpenObserved.of(pid, body)]
        ended = "SELECT 1 FROM spans WHERE trace_id = :trace AND span_id = :span LIMIT 1"
        return [each for each in begun if not self.query(ended, {"trace": each.trace_id, "span": each.id})]

    def open_in(self, session_id: str | None) -> list[OpenObserved]:
        """Return the open observations of a session."""
        return [observation for observation in self.open_observations if observation.session_id == session_id]

    def open_of(self, trace_id: str, session_id: str | None) -> list[OpenObserved]:
        """Return the open observations of a trace; with *session_id* only those of that session."""
        return [
            observation
            for observation in self.open_observations
            if observation.trace_id == trace_id and session_id in (None, observation.session_id)
        ]

    def selected(self, where: str, values: dict[str, Any]) -> list[Observed]:
        """Return the finished observations that a condition selects, in the order in which they were written."""
        return [observation for body in self.bodies_where(where, values) for observation in Observed.decoded(body)]

    def summed(self, condition: Condition, name: tuple[str | None, ...], version: RowsVersion) -> Totals:
        """Return what the selected rows add up to; errors are not counted.

        Args:
            name: identifies the condition in the cache.
            version: how many rows it has and which is the newest.
        """
        return totals_cache.of(
            (self.path, self.identity, *name), version, lambda: totals_of_bodies(self._sums(condition))
        )

    def _sums(self, condition: Condition) -> Iterator[bytes]:
        sql = f"SELECT body FROM spans WHERE {condition.where} AND {_HAS_SUMS}"
        return (body for (body,) in self.stream(sql, condition.values))

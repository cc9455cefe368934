"""Jobs that have a number, and no Python object that lives as long as they do: Ray's tasks, those of a ThreadPool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ..sessions.cells import Cell
from ..sessions.jobs import NumberedJob
from ..sessions.store import SessionStore

Number = TypeVar("Number")


class NumberedJobs:
    """Keeps the job of each thread; as a host it has no cell, and lets the store look whether a job is over."""

    def __init__(self) -> None:
        self._kept = threading.local()

    def cell(self) -> Cell | None:
        """Return None."""

    def job(self, store: SessionStore, number: Number, make: Callable[[Number], NumberedJob]) -> NumberedJob:
        """Return the job with *number* of the calling thread, for which *store* is given this host."""
        store.add_host(self)
        kept: tuple[Number, NumberedJob] | None = getattr(self._kept, "job", None)
        if kept is None or kept[0] != number:
            kept = self._kept.job = number, make(number)
        return kept[1]

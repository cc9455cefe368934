"""A storage backend: one open journal, in a file or in memory, with its writer, its retention, its scores and media."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..encoding.media import Media
from ..encoding.row import Row
from ..recording.score import Score
from ..settings import Settings
from .fork_guard import fork_guard
from .forwarding import Forwarding
from .journal import Journal
from .retention import Retention
from .scores_and_media import ScoresAndMedia
from .writers import Writers, destination_of

MEMORY_BYTES = 16 * 1024 * 1024
"""What may wait in memory, while the journal's file cannot be used or is switched off."""


class WriteBatch(NamedTuple):
    """One write of the worker.

    Attributes:
        rows: finished observations.
        opened: observations that are still open.
        ended: ids of spans that are open no longer.
    """

    rows: Sequence[Row]
    opened: Sequence[Row] = ()
    ended: Sequence[str] = ()
    scores: Sequence[Score] = ()
    media: Sequence[Media] = ()


class StorageBackend:
    """One open journal for one writer.

    Args:
        path: the journal's file, or None for a journal in memory.
        me: the writer's random number.
    """

    def __init__(self, settings: Settings, path: Path | None, me: int) -> None:
        max_bytes = settings.journal_max_bytes if path is not None else min(MEMORY_BYTES, settings.journal_max_bytes)
        with fork_guard.opening:
            self.journal = Journal(path, fsync=settings.durability == "fsync")
            try:
                self.retention = Retention(self.journal, max_bytes, settings.journal_max_age_s)
                self.writers = Writers(self.journal, me, destination_of(settings))
                destinations = settings.all_destinations
                self.forwarding = Forwarding(self.journal, me, destinations) if destinations else None
            except BaseException:
                self.journal.close()
                raise
        self.scores_and_media = ScoresAndMedia(self.journal)
        self._evicted = 0

    @property
    def in_memory(self) -> bool:
        """Whether the rows are lost with the process."""
        return self.journal.path is None

    def write(self, writer: int, batch: WriteBatch) -> None:
        """Write a batch as a whole: a row that refers to a picture is never here without it, when the process dies."""
        with self.journal.transaction() as db:
            self.journal.add(db, writer, batch.rows)
            self.journal.add_open(db, writer, batch.opened, batch.ended)
            self.scores_and_media.add(db, writer, batch.scores, batch.media)

    def newly_evicted(self) -> int:
        """Return how many of this writer's rows retention removed since the last call.

        Negative when Langfuse has received rows that were being sent while they were removed.
        """
        previous, self._evicted = self._evicted, self.writers.evicted()
        return self._evicted - previous

    def close(self) -> None:
        """Leave the journal to other writers, and close it."""
        try:
            self.writers.leave()
            if self.forwarding is not None:
                self.forwarding.leave()
        finally:
            self.journal.close()

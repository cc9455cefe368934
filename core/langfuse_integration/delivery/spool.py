"""The outlet of every day: rows go into the journal, and with keys from there to Langfuse."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..ids import new_bits
from ..observation import Observation, Score
from ..settings import Settings
from ..shield import shielded, warn_once
from .journal import Journal
from .row import Encoder, Row
from .sender import Sender

_ENCODING = shielded("encoding an observation")


class Spool:
    """Encodes, journals, and lets a sender deliver."""

    def __init__(self, encoder: Encoder, journal: Journal, sender: Sender | None, writer: str) -> None:
        self._encoder = encoder
        self._journal = journal
        self._sender = sender
        self._writer = writer
        self._written = 0
        self._lost: Counter[str] = Counter()

    @classmethod
    def from_settings(cls, settings: Settings) -> Spool:
        """Return the spool that the settings ask for; without a usable journal it lives in memory."""
        from .route import encoder

        writer = f"{os.getpid()}-{new_bits(64):016x}"
        journal = _open(settings, writer)
        sender = Sender(settings, journal) if settings.mode == "langfuse" else None
        return cls(encoder(settings), journal, sender, writer)

    def take(self, finished: Sequence[Any], opened: Sequence[Observation], scores: Sequence[Score]) -> None:
        """Write a batch into the journal."""
        rows = [row for row in map(self._row, finished) if row is not None]
        still_open = [row for row in map(self._row, opened) if row is not None]
        ended = [row.span_id for row in rows if not row.parent_id]
        try:
            self._journal.append(rows, still_open, ended)
            self._written += len(rows)
        except Exception:
            self._lost["journal"] += len(rows)
            raise
        if self._sender is not None:
            self._sender.wake()

    def flush(self, deadline: float) -> None:
        """Let the sender work until *deadline*."""
        if self._sender is not None:
            self._sender.flush(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost): without keys the journal is where things are delivered to."""
        lost = sum(self._lost.values())
        if self._sender is None:
            return self._written, 0, lost
        aside = self._sender.set_aside
        pending = max(self._journal.pending(self._writer), 0)
        return max(self._written - pending - aside, 0), pending, lost + aside

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        refused = {"refused by Langfuse": self._sender.set_aside} if self._sender and self._sender.set_aside else {}
        return {**self._lost, **refused}

    def stop(self) -> None:
        """Stop the sender and close the journal."""
        if self._sender is not None:
            self._sender.stop()
        self._journal.close()

    def forked(self) -> None:
        """Leave the file and the connection to the parent."""

    def _row(self, finished: Any) -> Row | None:
        with _ENCODING:
            if isinstance(finished, Observation):
                return self._encoder.row(finished)
            return self._encoder.readable(finished)
        self._lost["not encodable"] += 1
        return None


def _open(settings: Settings, writer: str) -> Journal:
    from pathlib import Path

    path = settings.journal_path
    if path is not None:
        try:
            return Journal(path, writer)
        except Exception as error:
            warn_once("journal", "The journal %s cannot be used (%s): observations are kept in memory only", path, error)
    return Journal(Path(":memory:"), writer)

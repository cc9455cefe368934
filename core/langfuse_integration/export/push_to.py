"""Push to another server: delivers the rows of a journal by OTLP to a destination beside Langfuse, in this process.

The journal notes what the destination has: a push may be interrupted and started again, and sends nothing twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..destinations import CAPTURES, DestinationCapture, OtlpDestination
from ..internals import forks
from ..journal.backend import StorageBackend
from ..journal.fork_guard import fork_guard
from ..journal.forward_tables import exists
from ..recording.ids import new_bits
from ..settings import Settings, settings
from .otlp_target import OtlpTarget
from .push import Progress, PushResult, until_done


def push_to(
    destination: OtlpDestination,
    *,
    path: Path | None = None,
    session_id: str | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> PushResult:
    """Deliver every row of a journal that *destination* does not have.

    What Langfuse still waits for is not affected. Rows that a living process delivers to the same address are left to
    that process.

    Args:
        path: the journal's file; by default that of the settings.
        session_id: only this session.
        progress: called before the first batch and after each.

    Raises:
        JournalTooNew, sqlite3.Error, OSError: the journal cannot be used.
    """
    current = settings()
    file = path or current.journal_path
    if file is None or not file.exists():
        return PushResult(0, 0, 0, None)
    destination = replace(destination, capture=_strictest(file, destination))
    only = replace(current, otlp_endpoint=None, destinations=(destination,))
    backend = StorageBackend(only, file, new_bits(62) + 1)
    try:
        return _Pushing(backend, only, destination, progress or (lambda _: None)).run(session_id)
    finally:
        with suppress(Exception):
            backend.close()


def _strictest(file: Path, destination: OtlpDestination) -> DestinationCapture:
    """Return what the address may have of the contents, by *destination* and by what it was set to before."""
    with fork_guard.opening, closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        captures: list[DestinationCapture] = [destination.capture]
        if exists(db):
            statement = "SELECT capture FROM destinations WHERE address = ?"
            captures += [row[0] for row in db.execute(statement, (destination.address,))]
    return max(captures, key=CAPTURES.index)


class _PushTarget(OtlpTarget):
    """The destination of a push: spans of other libraries have mostly left the journal by then."""

    companions = False


class _Pushing:
    """One push, and the journal that it reads from."""

    def __init__(
        self,
        backend: StorageBackend,
        settings: Settings,
        destination: OtlpDestination,
        on_progress: Callable[[Progress], object],
    ) -> None:
        self.settling = forks.Lock()
        self._backend = backend
        self._destination = destination
        self._on_progress = on_progress
        self._total = self._delivered = self._refused = 0
        self._target = _PushTarget(settings, destination, self, backend.writers.me, self._count)

    def backends(self) -> list[StorageBackend]:
        """Return the one journal."""
        return [self._backend]

    def run(self, session_id: str | None) -> PushResult:
        forwarding = self._backend.forwarding
        assert forwarding is not None
        forwarding.claim(self._destination, session_id)
        self._total = forwarding.waiting(self._destination)
        self._report()
        step = partial(self._target.deliver, self._backend, self._backend.writers.me)
        problem = until_done(step, self._report)
        self._target.close()
        waiting = forwarding.waiting(self._destination)
        return PushResult(self._delivered, self._refused, waiting, problem)

    def _count(self, delivered: int, refused: int) -> None:
        self._delivered += delivered
        self._refused += refused

    def _report(self) -> None:
        self._on_progress(Progress(self._delivered, self._refused, self._total))

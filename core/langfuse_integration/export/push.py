"""Push: delivers all waiting rows of a journal to Langfuse, in this process.

Meant for observations recorded without keys, with other keys, or by a process that ended without a network. A push may
be interrupted and started again: each batch is settled once Langfuse has accepted it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import NoKeys
from ..journal.backend import StorageBackend
from ..journal.writers import NOWHERE, destination_of
from ..recording.ids import new_bits
from ..settings import Settings, settings
from .delivery import Delivery
from .erasure import erase_waiting
from .response import DeliveryResult, Outcome
from .sender import BACK_OFF_S

MAX_FAILURES = 4
"""Consecutive failures before a push gives up."""


class Progress(NamedTuple):
    """The progress of a push: `delivered` and `refused` of `total` observations."""

    delivered: int
    refused: int
    total: int


class PushResult(NamedTuple):
    """The result of a push.

    Attributes:
        delivered: observations that Langfuse accepted.
        refused: observations that Langfuse refused; they stay in the journal, set aside with the reason.
        pending: observations that still wait: the push gave up, or a living process delivers them itself.
        problem: why the push gave up, or None.
    """

    delivered: int
    refused: int
    pending: int
    problem: str | None


class _Push:
    def __init__(
        self,
        backend: StorageBackend,
        settings: Settings,
        session_id: str | None,
        on_progress: Callable[[Progress], object],
    ) -> None:
        self._backend = backend
        self._session_id = session_id
        self._on_progress = on_progress
        self._delivered = self._refused = 0
        self._total = 0
        self._keeps = settings.keep_delivered
        self._settings = settings
        self._delivery = Delivery(settings, self._count_delivered, self._count_refused)

    def run(self) -> PushResult:
        backend = self._backend
        writers = [writer for writer in backend.writers.mine() if writer != backend.writers.me]
        self._total = sum(backend.journal.pending(writer, self._session_id) for writer in writers)
        problem: str | None = None
        self._report()
        local = set(backend.writers.of(NOWHERE))
        for writer in writers:
            self._delivery.keep = self._keeps or writer in local
            problem = self._until_done(partial(self._delivery.spans, backend.journal, writer, self._session_id))
            if problem is None and self._session_id is None:
                waiting = partial(self._delivery.scores_and_media, backend.scores_and_media, [writer])
                problem = self._until_done(waiting)
            if problem is not None:
                break
        if problem is None and self._session_id is None:
            http, destination = self._delivery.http, destination_of(self._settings)
            result = erase_waiting(http, self._settings, backend.journal, destination)
            problem = result.reason if result is not None else None
        self._delivery.http.close()
        return PushResult(self._delivered, self._refused, backend.journal.pending(session_id=self._session_id), problem)

    def _until_done(self, step: Callable[[], DeliveryResult | None]) -> str | None:
        return until_done(step, self._report)

    def _count_delivered(self, _writer: int, count: int) -> None:
        self._delivered += count

    def _count_refused(self, _writer: int, count: int) -> None:
        self._refused += count

    def _report(self) -> None:
        self._on_progress(Progress(self._delivered, self._refused, self._total))


def until_done(step: Callable[[], DeliveryResult | None], on_success: Callable[[], object]) -> str | None:
    """Repeat *step* until it returns None, with pauses after failures; return why it was given up, or None.

    Args:
        on_success: called after each step that was no failure.
    """
    failures = 0
    while (result := step()) is not None:
        if result.outcome is not Outcome.WAIT:
            failures = 0
            on_success()
            continue
        failures += 1
        if result.needs_user_action or failures >= MAX_FAILURES:
            return result.reason
        pause_s = BACK_OFF_S[0] * 2**failures * random.uniform(0.5, 1.0)
        if result.wait_s is not None and result.wait_s > BACK_OFF_S[1]:
            return f"{result.reason}: to be tried again in {result.wait_s:.0f} s"
        time.sleep(max(pause_s, result.wait_s or 0.0))
    return None


def push(
    *,
    path: Path | None = None,
    session_id: str | None = None,
    everything: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> PushResult:
    """Deliver what waits in a journal to the Langfuse project that the settings name.

    Observations of a living process with keys are left to that process. Observations that were recorded without keys
    stay in the journal, marked as delivered, until `prune` or the journal's bounds remove them; others leave it, unless
    the setting `keep_delivered` keeps them.

    Args:
        path: the journal's file; by default that of the settings.
        session_id: only this session.
        everything: also observations recorded for another Langfuse project, or with previous keys.
        progress: called before the first batch and after each.

    Raises:
        NoKeys: there is no Langfuse to push to.
        JournalTooNew, sqlite3.Error, OSError: the journal cannot be used.
    """
    current = settings()
    if current.mode != "langfuse":
        raise NoKeys
    file = path or current.journal_path
    if file is None or not file.exists():
        return PushResult(0, 0, 0, None)
    backend = StorageBackend(current, file, new_bits(62) + 1)
    try:
        destinations = [destination_of(current), NOWHERE]
        if everything:
            destinations += [row[0] for row in backend.journal.query("SELECT DISTINCT destination FROM writers")]
        backend.writers.adopt(*destinations)
        backend.writers.take_over(NOWHERE)
        return _Push(backend, current, session_id, progress or (lambda _: None)).run()
    finally:
        with suppress(Exception):
            backend.close()

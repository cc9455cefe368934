"""Pushing: everything that waits in a journal to Langfuse, now and in this process.

For what was recorded without keys, or with others, or by a process that ended without a network. It may be broken off
and started again: what Langfuse has taken is settled, batch by batch.
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
from ..journal.storage import Place
from ..journal.writers import NOWHERE, destination_of
from ..recording.ids import new_bits
from ..settings import Settings, settings
from .delivery import Delivery
from .response import Judgement, Outcome
from .sender import BACK_OFF_S

PATIENCE = 4
"""Failures one after the other before it gives up."""


class Progress(NamedTuple):
    """How far it is: `delivered` and `refused` of `total` observations."""

    delivered: int
    refused: int
    total: int


class PushResult(NamedTuple):
    """What came of it.

    Attributes:
        delivered: observations that Langfuse has taken.
        refused: those that it will not take; they stay, set aside with the reason.
        pending: those that wait still: because it gave up, or because a process that lives delivers them itself.
        problem: why it gave up, or None.
    """

    delivered: int
    refused: int
    pending: int
    problem: str | None


class _Push:
    def __init__(
        self, place: Place, found: Settings, session_id: str | None, tell: Callable[[Progress], object]
    ) -> None:
        self._place = place
        self._session_id = session_id
        self._tell = tell
        self._delivered = self._refused = self._failures = 0
        self._total = 0
        self._courier = Delivery(found, self._took, self._set_aside)

    def run(self) -> PushResult:
        place = self._place
        writers = [writer for writer in place.writers.mine() if writer != place.writers.me]
        self._total = sum(place.journal.pending(writer, self._session_id) for writer in writers)
        problem: str | None = None
        self._report()
        for writer in writers:
            problem = self._until_done(partial(self._courier.spans, place.journal, writer, self._session_id))
            if problem is not None:
                break
        if problem is None and self._session_id is None:
            problem = self._until_done(partial(self._courier.extras, place.extras, writers))
        self._courier.post.close()
        return PushResult(self._delivered, self._refused, place.journal.pending(session_id=self._session_id), problem)

    def _until_done(self, step: Callable[[], Judgement | None]) -> str | None:
        while (verdict := step()) is not None:
            if verdict.fate is not Outcome.WAIT:
                self._failures = 0
                self._report()
                continue
            self._failures += 1
            if verdict.needs_user_action or self._failures >= PATIENCE:
                return verdict.reason
            pause_s = BACK_OFF_S[0] * 2**self._failures * random.uniform(0.5, 1.0)
            if verdict.wait_s is not None and verdict.wait_s > BACK_OFF_S[1]:
                return f"{verdict.reason}: to be tried again in {verdict.wait_s:.0f} s"
            time.sleep(max(pause_s, verdict.wait_s or 0.0))
        return None

    def _took(self, _writer: int, count: int) -> None:
        self._delivered += count

    def _set_aside(self, _writer: int, count: int) -> None:
        self._refused += count

    def _report(self) -> None:
        self._tell(Progress(self._delivered, self._refused, self._total))


def push(
    *,
    path: Path | None = None,
    session_id: str | None = None,
    everything: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> PushResult:
    """Deliver what waits in a journal to the Langfuse project that the settings name.

    What a living process with keys has recorded is left to it. What it delivers leaves the journal, unless the setting
    `keep_delivered` keeps it.

    Args:
        path: the journal's file; by default that of the settings.
        session_id: only this session.
        everything: also what was recorded for another Langfuse project, or with keys of before.
        progress: called before the first batch and after each.

    Raises:
        NoKeys: there is no Langfuse to push to.
        JournalTooNew, sqlite3.Error, OSError: the journal cannot be used.
    """
    found = settings()
    if found.mode != "langfuse":
        raise NoKeys
    where = path or found.journal_path
    if where is None or not where.exists():
        return PushResult(0, 0, 0, None)
    place = Place(found, where, new_bits(62) + 1)
    try:
        wanted = [destination_of(found), NOWHERE]
        if everything:
            wanted += [row[0] for row in place.journal.query("SELECT DISTINCT destination FROM writers")]
        place.writers.adopt(*wanted)
        place.writers.take(NOWHERE)
        return _Push(place, found, session_id, progress or (lambda _: None)).run()
    finally:
        with suppress(Exception):
            place.close()

"""The outlet of every day: rows go into the journal, and with keys from there to Langfuse."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..encoding.media import Media, MediaSieve
from ..encoding.row import Encoder, Row
from ..internals.faults import report, shielded, warn_once
from ..journal.scores_and_media import sendable
from ..journal.storage import Storage, Written
from ..recording.ids import new_bits
from ..recording.observation import Observation, Score
from ..settings import Settings
from .outlet import Outlet

if TYPE_CHECKING:
    from .sender import Sender

ANNOUNCED_LIMIT = 10_000
"""Open observations in the journal at the same time; further ones are written only when they have ended."""
STOP_S = 1.0
"""How long the worker waits for the sender's end."""
_ENCODING = shielded("encoding an observation")


class JournalOutlet(Outlet):
    """Encodes and journals on the worker's thread, and has a sender deliver on its own.

    Args:
        encoder: its fields' media go through *sieve*.
    """

    def __init__(self, settings: Settings, encoder: Encoder, sieve: MediaSieve | None = None) -> None:
        self._encoder = encoder
        self._sieve = sieve
        me = new_bits(62) + 1
        self._since_ns = time.time_ns()
        self._local = settings.mode != "langfuse"
        self._stored = self._delivered = self._refused = 0
        self._lost: Counter[str] = Counter()
        self._announced: dict[str, set[tuple[str, str]]] = {}  # what is open, and (id, field) of the media in it
        self._looked = False
        self._shelf = Storage(settings, me, self._moved)
        self._sender: Sender | None = None
        if not self._local:
            from .sender import Sender

            self._sender = Sender(settings, self._shelf, me, self._settled)

    @classmethod
    def from_settings(cls, settings: Settings) -> JournalOutlet:
        """Return the spool that the settings ask for; without a usable journal it lives in memory."""
        sieve = MediaSieve() if settings.media_upload else None
        return cls(settings, Encoder.from_settings(settings, sieve=sieve), sieve)

    # -- the worker's thread

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Write a batch into the journal."""
        rows: list[Row] = []
        media: list[Media] = []
        for found in finished:
            row = self._row(found, media)
            if row is None:
                self._lost["not encodable"] += 1
            else:
                rows.append(row)
        media = [found for found in media if (found.id, found.field) not in self._announced.get(found.span_id, ())]
        # What began before this was made may be in the journal as open, in the name of a writer of before.
        ended = [row.span_id for row in rows if row.started_ns < self._since_ns or row.span_id in self._announced]
        kept = [score for score in scores if sendable(score)]
        if len(kept) < len(scores):
            warn_once("scores", "A score that is NaN or infinite has no form that Langfuse takes: it is left out")
        for span_id in ended:
            self._announced.pop(span_id, None)
        still_open = self._announce(opened, media)
        self._store(Written(rows, still_open, ended, kept, media))
        self._shelf.tidy()
        if self._sender is not None:
            self._sender.wake(len(rows))
        elif not self._looked:
            self._looked = True
            self._shelf.end_dead()

    def idle(self) -> float | None:
        """Tidy up while there is nothing else to do; return in how many seconds to come again, if at all."""
        self._shelf.tidy(idle=True)
        return self._shelf.restless_s

    def ending(self) -> None:
        """End what is still open: the process ends."""
        if self._announced:
            self._shelf.end_open()
            self._announced.clear()
            if self._sender is not None:
                self._sender.wake(1)

    def stop(self) -> None:
        """Stop, and leave what waits to whoever comes next."""
        if self._sender is not None:
            self._sender.stop()  # it closes the shelf, when its request is over
            self._sender.join(STOP_S)
        else:
            self._shelf.close()

    # -- any thread

    def flush(self, deadline: float) -> None:
        """Let the sender work until *deadline*."""
        if self._sender is not None:
            self._sender.flush(deadline)

    def finish(self, deadline: float) -> None:
        """Do the same at the end of a process: not for longer than there is hope."""
        if self._sender is not None:
            self._sender.flush(deadline, hoping=False)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost): without keys the journal is where things are delivered to.

        Pending is 0 here: the worker knows what it gave, and what is neither delivered nor lost.
        """
        lost = sum(self.reasons().values())
        return (self._stored if self._local else self._delivered), 0, lost

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        refused = {"refused by Langfuse": self._refused} if self._refused else {}
        return {**self._lost, **self._shelf.evicted(), **refused}

    def forked(self) -> None:
        """Leave the file and the connection to the parent."""
        if self._sender is not None:
            self._sender.forked()

    # -- parts

    def _announce(self, opened: Sequence[Any], media: list[Media]) -> list[Row]:
        """Return the rows of what is open, and remember what media they brought: at the end they would come again."""
        rows: list[Row] = []
        for found in opened[: max(ANNOUNCED_LIMIT - len(self._announced), 0)]:
            shown: list[Media] = []
            row = self._row(found, shown)
            if row is not None:
                rows.append(row)
                media += shown
                self._announced[row.span_id] = {(medium.id, medium.field) for medium in shown}
        return rows

    def _row(self, found: Any, media: list[Media]) -> Row | None:
        with _ENCODING:
            row = self._encoder.row(found) if isinstance(found, Observation) else self._encoder.readable(found)
            if self._sieve is not None and self._sieve.found:
                media += self._sieve.taken(self._encoder.written, row.trace_id, row.span_id)
            return row
        return None

    def _store(self, written: Written) -> None:
        try:
            self._stored += self._shelf.store(written)
        except Exception as error:  # noqa: BLE001  a row that no column takes must not keep the others out
            report("writing a batch", error)
            if len(written.rows) + len(written.opened) + len(written.scores) + len(written.media) <= 1:
                self._lost["not writable"] += len(written.rows)
                return
            for row in written.rows:
                self._store(Written([row], ended=[row.span_id] if row.span_id in written.ended else ()))
            for part in (
                *(Written([], opened=[row]) for row in written.opened),
                *(Written([], scores=[score]) for score in written.scores),
                *(Written([], media=[medium]) for medium in written.media),
            ):
                self._store(part)

    def _moved(self, count: int) -> None:
        self._stored += count
        if self._sender is not None and count:
            self._sender.wake(count)

    def _settled(self, delivered: int, refused: int) -> None:
        self._delivered += delivered
        self._refused += refused

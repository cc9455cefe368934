"""The usual outlet: encodes observations into the journal; senders deliver them from there.

With keys one sender delivers to Langfuse. Each destination beside it has one of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..encoding.media import Media, MediaSieve
from ..encoding.row import Encoder, Row
from ..internals import forks
from ..internals.faults import report, shielded, warn_once
from ..journal.backend import WriteBatch
from ..journal.scores_and_media import sendable
from ..journal.storage import Storage
from ..recording.ids import new_bits
from ..recording.otel_spans import BELOW_ROW
from ..recording.score import Score
from ..settings import Settings
from .companions import Companions
from .counters import DestinationCounts
from .local_only import LocalOnly
from .outlet import Outlet

if TYPE_CHECKING:
    from .forwarder import Forwarder
    from .sender import Sender

OPEN_LIMIT = 10_000
"""The most open observations in the journal; further ones are written when they end."""
STOP_S = 1.0
"""How long the worker waits for the sender to end."""
LAST_TRY_S = 2.5
"""How long the worker waits where rows are in memory only: the last try to write them, while the file is locked."""
_ENCODING = shielded("encoding an observation")


class JournalOutlet(Outlet):
    """Encodes and writes on the worker's thread; a sender delivers on a thread of its own.

    Args:
        encoder: makes the rows.
        sieve: the same one that takes media out of the encoder's fields.
    """

    def __init__(self, settings: Settings, encoder: Encoder, sieve: MediaSieve | None = None) -> None:
        self._encoder = encoder
        self._sieve = sieve
        me = new_bits(62) + 1
        self._since_ns = time.time_ns()
        self._local = settings.mode != "langfuse"
        self._local_only = LocalOnly(settings)
        self._stored = self._delivered = self._refused = 0
        self._lost: Counter[str] = Counter()
        self._open: dict[str, set[tuple[str, str]]] = {}  # span id of what is open: (id, field) of its media
        self._dead_ended = False
        self._storage = Storage(settings, me, self._count_moved)
        self._sender: Sender | None = None
        self._forwarders: list[Forwarder] = []
        self._closing = forks.Lock()
        if not self._local:
            from .langfuse_target import LangfuseTarget
            from .sender import Sender

            target = LangfuseTarget(settings, self._storage, me, self._count_settled)
            self._sender = Sender(settings, self._storage, me, target, self._sender_ended)
        for destination in settings.all_destinations:
            from .forwarder import Forwarder

            self._forwarders.append(Forwarder(settings, destination, self._storage, me, self._sender_ended))
        self._companions = Companions() if self._forwarders else None
        self._senders = [forwarder.sender for forwarder in self._forwarders]
        if self._sender is not None:
            self._senders.insert(0, self._sender)
        self._running = len(self._senders)

    @classmethod
    def from_settings(cls, settings: Settings) -> JournalOutlet:
        """Return a started outlet for *settings*; while no journal file can be used, rows are kept in memory."""
        sieve = MediaSieve() if settings.media_upload else None
        outlet = cls(settings, Encoder.from_settings(settings, sieve=sieve, shares=True), sieve)
        outlet.start()
        return outlet

    def start(self) -> None:
        """Start the senders."""
        for sender in self._senders:
            sender.start()

    # -- the worker's thread

    def prepare(self) -> None:
        """Open the journal, so that the first rows need not wait for it."""
        self._storage.open()

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Write a batch into the journal."""
        rows: list[Row] = []
        media: list[Media] = []
        opened_media: list[Media] = []
        opened_rows = self._open_rows(opened, opened_media)  # first: they grow when they end meanwhile
        for observation in finished:
            row = self._row(observation, media)
            if row is None:
                self._lost["not encodable"] += 1
            else:
                rows.append(row)
        media = [medium for medium in media if (medium.id, medium.field) not in self._open.get(medium.span_id, ())]
        # An observation older than this outlet may be in the journal as open, under a previous writer.
        ended = [row.span_id for row in rows if row.started_ns < self._since_ns or row.span_id in self._open]
        valid_scores = [self._encoder.score(score) for score in scores if sendable(score)]
        if len(valid_scores) < len(scores):
            warn_once("scores", "A score is NaN or infinite, which Langfuse does not accept: it is left out")
        for span_id in ended:
            self._open.pop(span_id, None)
        batch = WriteBatch(rows, opened_rows, ended, valid_scores, media + opened_media)
        for part in self._storage.parts(batch):
            self._store(part)
        if self._companions is not None:
            self._storage.accompany(self._companions.joined_by((*rows, *opened_rows)))
        self._storage.tidy()
        self._wake(len(rows))
        self._local_only.note_rows()
        if not self._senders and not self._dead_ended:
            self._dead_ended = True
            self._storage.end_dead()

    def accompany(self, spans: Sequence[Any]) -> None:
        """Write spans that Langfuse does not take for the destinations, if their trace holds a row."""
        if self._companions is None:
            return
        pairs = [(span.attributes or {}, row) for span in spans if (row := self._row(span, [])) is not None]
        ready = self._companions.joined_by(row for attributes, row in pairs if BELOW_ROW in attributes)
        ready += self._companions.of(row for _, row in pairs)
        self._storage.accompany(ready)
        self._wake(len(ready))

    def idle(self) -> float | None:
        """Do periodic work; return the seconds until the next call, or None."""
        self._storage.tidy(idle=True)
        return self._storage.retry_in_s

    def ending(self) -> None:
        """End open observations, since the process ends."""
        if self._open:
            self._storage.end_open()
            self._open.clear()
            self._wake(1)

    def stop(self) -> None:
        """Stop; the next process delivers waiting rows."""
        if not self._senders:
            self._storage.close()
        for sender in self._senders:
            sender.stop()  # the last one closes the storage when its request is over
        until = time.monotonic() + (LAST_TRY_S if self.unwritten() else STOP_S)
        for sender in self._senders:
            sender.join(max(until - time.monotonic(), 0.0))

    # -- any thread

    def flush(self, deadline: float) -> None:
        """Let the senders work until *deadline*; a destination that fails is not waited for."""
        self._flush(deadline)

    def finish(self, deadline: float) -> None:
        """Flush at the end of the process; stop early if retrying cannot help."""
        self._flush(deadline, give_up_early=True)
        self._local_only.say()

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost); without keys, rows in the journal are delivered.

        Pending is always 0: the worker counts what it passed on, and the difference is pending.
        """
        lost = self.reasons()
        delivered = self._stored - sum(self._storage.evicted().values()) if self._local else self._delivered
        return delivered, 0, sum(lost.values())

    def fails(self) -> bool:
        """Return whether the last request to Langfuse failed."""
        return self._sender is not None and self._sender.is_failing

    def reasons(self) -> Mapping[str, int]:
        """Return the number of lost observations by reason."""
        refused = {"refused by Langfuse": self._refused} if self._refused else {}
        return {**self._lost, **self._storage.evicted(), **refused}

    def destinations(self) -> list[DestinationCounts]:
        """Return the counts of each destination beside Langfuse."""
        return [forwarder.counts() for forwarder in self._forwarders]

    def unwritten(self) -> int:
        """Return how many observations only the memory of this process has; 0 where no file is set."""
        return self._storage.in_memory()

    def say_lost(self) -> None:
        """Warn of the rows that are in memory only."""
        self._storage.say_lost()

    def forked(self) -> None:
        """Leave the file and the connections to the parent."""
        for sender in self._senders:
            sender.forked()

    # -- parts

    def _wake(self, rows: int) -> None:
        for sender in self._senders:
            sender.wake(rows)

    def _flush(self, deadline: float, give_up_early: bool = False) -> None:
        for forwarder in self._forwarders:
            forwarder.sender.hurry()
        for sender in self._senders:
            sender.flush(deadline, give_up_early)

    def _sender_ended(self) -> None:
        with self._closing:
            self._running -= 1
            is_last = self._running == 0
        if is_last:
            self._storage.close()

    def _open_rows(self, opened: Sequence[Any], media: list[Media]) -> list[Row]:
        """Return the rows of open observations, and note their media, so that these are not stored again at the end."""
        rows: list[Row] = []
        for observation in opened[: max(OPEN_LIMIT - len(self._open), 0)]:
            row_media: list[Media] = []
            row = self._row(observation, row_media)
            if row is not None:
                rows.append(row)
                media += row_media
                self._open[row.span_id] = {(medium.id, medium.field) for medium in row_media}
        return rows

    def _row(self, observation: Any, media: list[Media]) -> Row | None:
        with _ENCODING:
            row = self._encoder.encode(observation)
            if self._sieve is not None and self._sieve.collected:
                media += self._sieve.taken(self._encoder.written, row.trace_id, row.span_id)
            return row
        return None

    def _store(self, written: WriteBatch) -> None:
        try:
            stored = self._storage.store(written)  # first: it may move rows from memory, which count as well
            self._stored += stored
        except Exception as error:  # noqa: BLE001  one row that SQLite refuses must not lose the others
            report("writing a batch", error)
            if len(written.rows) + len(written.opened) + len(written.scores) + len(written.media) <= 1:
                self._lost["not writable"] += len(written.rows)
                return
            for row in written.rows:
                self._store(WriteBatch([row], ended=[row.span_id] if row.span_id in written.ended else ()))
            for part in (
                *(WriteBatch([], opened=[row]) for row in written.opened),
                *(WriteBatch([], scores=[score]) for score in written.scores),
                *(WriteBatch([], media=[medium]) for medium in written.media),
            ):
                self._store(part)

    def _count_moved(self, count: int) -> None:
        self._stored += count
        if count:
            self._wake(count)

    def _count_settled(self, delivered: int, refused: int) -> None:
        self._delivered += delivered
        self._refused += refused

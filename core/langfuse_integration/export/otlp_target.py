"""A destination beside Langfuse as a target: any server that takes OTLP traces."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from ..destinations import OtlpDestination
from ..internals import forks
from ..internals.faults import logger, report, warn_once
from ..journal.backend import StorageBackend
from ..journal.forwarding import ForwardBatch
from ..settings import Settings
from .response import TAKEN, DeliveryResult, Outcome
from .target import CountSettled, Target

if TYPE_CHECKING:
    from .otlp_link import OtlpLink

BATCH_ROWS = 512
"""The number that OpenTelemetry's own exporters send at once."""
BATCH_BYTES = 1024 * 1024


class Backends(Protocol):
    """Where rows are read from; see Storage."""

    settling: forks.Lock

    def backends(self) -> list[StorageBackend]:
        """Return the backends that may hold rows."""
        ...


class OtlpTarget(Target):
    """One destination.

    Nothing is locked while a request is on its way: a slow destination holds up neither Langfuse nor the worker.

    Args:
        me: the writer whose rows are counted.
    """

    is_awaited = False
    companions = True
    """Whether spans of other libraries are delivered along with the rows."""

    def __init__(
        self, settings: Settings, destination: OtlpDestination, storage: Backends, me: int, settled: CountSettled
    ) -> None:
        self._destination = destination
        self._storage = storage
        self._me = me
        self._settled = settled
        self._keep = settings.keep_delivered
        self._max_rows = min(settings.flush_at or BATCH_ROWS, BATCH_ROWS)
        self._rows = self._max_rows
        self._timeout_s = settings.timeout_s
        self._link: OtlpLink | None = None
        self._accepted = False  # of the current batch
        self._suspects: list[tuple[ForwardBatch, str]] = []
        self._unsettled: list[tuple[ForwardBatch, str | None]] = []
        self.name = f"The destination {destination.address}"

    @override
    def deliver(self, backend: StorageBackend, writer: int) -> DeliveryResult | None:
        with self._storage.settling:
            forwarding = backend.forwarding
            if forwarding is None or backend not in self._storage.backends():  # its rows were moved meanwhile
                return None
            batch = forwarding.next_batch(self._destination, writer, self._rows, BATCH_BYTES)
        if batch is None:
            return None
        self._accepted, self._suspects = False, []
        result = self._settle_suspects(backend, self._send(backend, batch))
        if result.outcome is Outcome.TAKEN:
            self._rows = min(self._rows * 2, self._max_rows)
        elif result.smaller:
            self._rows = max(len(batch.ids) // 2, 1)
        return result

    @override
    def writers(self, backend: StorageBackend) -> list[int]:
        return backend.forwarding.mine(self._destination) if backend.forwarding is not None else []

    @override
    def adopt(self, backend: StorageBackend) -> bool:
        backend.writers.adopt()  # ends what dead processes left open
        return backend.forwarding is not None and backend.forwarding.adopt(self._destination) > 0

    @override
    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    # -- one batch

    def _send(self, backend: StorageBackend, batch: ForwardBatch) -> DeliveryResult:
        result, rejected = self._request(batch.bodies)
        if result.outcome is Outcome.TAKEN:
            self._accepted = True
            self._taken(backend, batch, result, rejected)
        elif result.outcome is Outcome.DIVIDE:
            if len(batch.ids) == 1:
                self._suspects.append((batch, result.reason))
                return TAKEN
            for half in batch.halves():
                result = self._send(backend, half)
                if result.outcome is not Outcome.TAKEN:
                    return result
        return result

    def _taken(self, backend: StorageBackend, batch: ForwardBatch, result: DeliveryResult, rejected: int) -> None:
        self._settle(backend, batch, None)
        logger().debug("%s has taken observations: %d", self.name, len(batch.ids) - rejected)
        self._count(batch.writer, len(batch.ids) - rejected, rejected)
        if rejected:
            warn_once(f"{self.name} {result.reason}", "%s has %s (%d)", self.name, result.reason, rejected)

    def _settle_suspects(self, backend: StorageBackend, result: DeliveryResult) -> DeliveryResult:
        """Set rows aside that were refused alone, unless the server refuses everything.

        It does not when it accepted other rows of the batch, or else an empty request, which some servers refuse. Each
        row is sent again then, since the server may have refused everything only when it was sent first.
        """
        if not self._suspects:
            return result
        if not self._accepted:
            probe, _ = self._request([])
            if probe.outcome is not Outcome.TAKEN:
                reason = self._suspects[0][1]
                waiting = DeliveryResult(Outcome.WAIT, f"{reason}, whatever is sent")
                return probe if probe.outcome is Outcome.WAIT else waiting
        for batch, _ in self._suspects:
            again, rejected = self._request(batch.bodies)
            if again.outcome is Outcome.WAIT:
                return again
            if again.outcome is Outcome.TAKEN:
                self._taken(backend, batch, again, rejected)
            else:
                self._settle(backend, batch, again.reason)
                self._count(batch.writer, 0, 1)
        return result

    def _request(self, bodies: Sequence[bytes]) -> tuple[DeliveryResult, int]:
        if self._link is None:
            from .otlp_link import OtlpLink

            self._link = OtlpLink(self._destination, self._timeout_s, companions=self.companions)
        return self._link.send(bodies)

    def _count(self, writer: int, delivered: int, refused: int) -> None:
        if writer == self._me:
            self._settled(delivered, refused)

    # -- what became of it

    def _settle(self, backend: StorageBackend, batch: ForwardBatch, refused: str | None) -> None:
        try:
            with self._storage.settling:
                self._settle_in(backend, batch, refused)
                while self._unsettled:
                    self._settle_in(backend, *self._unsettled[-1])
                    self._unsettled.pop()
        except (sqlite3.Error, OSError) as error:
            report("noting what a destination has", error)
            if backend.forwarding is not None:  # with a full disk these rows would be sent again and again
                backend.forwarding.skip(self._destination, batch.writer, batch.ids[-1])
            self._unsettled.append((batch, refused))

    def _settle_in(self, backend: StorageBackend, batch: ForwardBatch, refused: str | None) -> None:
        """Note what became of a batch, also of rows that have moved to another backend since it was read."""
        backends = self._storage.backends()
        if backend in backends and self._settled_in(backend, batch.ids, refused) == len(batch.ids):
            return
        for other in backends:
            if other.forwarding is not None:
                self._settled_in(other, other.forwarding.ids_of(batch.keys), refused)

    def _settled_in(self, backend: StorageBackend, ids: list[int], refused: str | None) -> int:
        forwarding = backend.forwarding
        if forwarding is None:
            return 0
        if refused is not None:
            return forwarding.set_aside(self._destination, ids, refused)
        return forwarding.acknowledge(self._destination, ids, self._keep)

"""A forwarder: the sender of one destination beside Langfuse, and its counters."""

from __future__ import annotations

from collections.abc import Callable

from ..destinations import OtlpDestination
from ..journal.storage import Storage
from ..settings import Settings
from .counters import DestinationCounts
from .otlp_target import OtlpTarget
from .sender import Sender


class Forwarder:
    """One destination's sender.

    Args:
        me: the writer whose rows are counted.
        on_end: called when the sender's thread has ended.
    """

    def __init__(
        self,
        settings: Settings,
        destination: OtlpDestination,
        storage: Storage,
        me: int,
        on_end: Callable[[], None],
    ) -> None:
        self._destination = destination
        self._storage = storage
        self._delivered = self._refused = 0
        target = OtlpTarget(settings, destination, storage, me, self._count)
        self.sender = Sender(settings, storage, me, target, on_end)

    def counts(self) -> DestinationCounts:
        """Return the counters of this process for the destination."""
        waiting = lost = 0
        with self._storage.settling:
            for backend in self._storage.backends():
                if backend.forwarding is not None:
                    waiting += backend.forwarding.waiting(self._destination)
                    lost += backend.forwarding.evicted(self._destination)
        return DestinationCounts(self._destination.address, self._delivered, waiting, self._refused, lost)

    def _count(self, delivered: int, refused: int) -> None:
        self._delivered += delivered
        self._refused += refused

"""Langfuse as a target: observations, scores and media."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from ..internals.faults import warn_once
from ..journal.backend import StorageBackend
from ..journal.storage import Storage
from ..journal.writers import destination_of
from ..settings import Settings
from .response import DeliveryResult
from .target import CountSettled, Target

if TYPE_CHECKING:
    from .delivery import Delivery


class LangfuseTarget(Target):
    """The Langfuse project of the settings.

    Args:
        me: the writer whose rows are counted.
    """

    is_awaited = True

    def __init__(self, settings: Settings, storage: Storage, me: int, settled: CountSettled) -> None:
        self._storage = storage
        self._me = me
        self._settled = settled
        self._destination = destination_of(settings)
        self._settings = settings
        self._delivery: Delivery | None = None
        self.name = f"Langfuse at {settings.address}"

    @override
    def deliver(self, backend: StorageBackend, writer: int) -> DeliveryResult | None:
        with self._storage.moving:
            if backend not in self._storage.backends():  # its rows were moved to another backend meanwhile
                return None
            return self._connected().spans(backend.journal, writer)

    @override
    def deliver_scores_and_media(self, backend: StorageBackend) -> DeliveryResult | None:
        from .erasure import erase_waiting

        delivery = self._connected()
        waiting = delivery.scores_and_media(backend.scores_and_media, backend.writers.mine() or [self._me])
        return waiting or erase_waiting(delivery.http, self._settings, backend.journal, self._destination)

    @override
    def writers(self, backend: StorageBackend) -> list[int]:
        return backend.writers.mine()

    @override
    def adopt(self, backend: StorageBackend) -> bool:
        adopted = bool(backend.writers.adopt(self._destination))
        count = backend.writers.for_other_projects()
        if count:
            warn_once(
                "other projects",
                "The journal %s holds %d observations for another Langfuse project, or for previous keys: "
                "`langfuse-integration push --all` delivers them to the current project",
                backend.journal.path,
                count,
            )
        return adopted

    @override
    def close(self) -> None:
        if self._delivery is not None:
            self._delivery.http.close()

    def _connected(self) -> Delivery:
        """Return the delivery; its modules are loaded with the first request, when the first rows are written."""
        if self._delivery is None:
            from .delivery import Delivery

            self._delivery = Delivery(self._settings, self._delivered, self._refused)
        return self._delivery

    def _delivered(self, writer: int, count: int) -> None:
        if writer == self._me:
            self._settled(count, 0)

    def _refused(self, writer: int, count: int) -> None:
        if writer == self._me:
            self._settled(0, count)

"""A target: what one sender delivers to."""

from __future__ import annotations

from collections.abc import Callable

from ..journal.backend import StorageBackend
from .response import DeliveryResult

CountSettled = Callable[[int, int], None]
"""Called with how many of this writer's rows were delivered, and how many refused."""


class Target:
    """The base of all targets. All methods are called on the sender's thread.

    Attributes:
        name: for messages, such as `Langfuse at https://cloud.langfuse.com`.
        is_awaited: whether a flush waits for it while it fails.
    """

    name: str
    is_awaited: bool

    def deliver(self, backend: StorageBackend, writer: int) -> DeliveryResult | None:
        """Deliver one batch of *writer*; return the result, or None if no row waits."""
        raise NotImplementedError

    def deliver_scores_and_media(self, backend: StorageBackend) -> DeliveryResult | None:
        """Deliver scores and media; return None when done, else the result that says why they wait."""
        return None

    def writers(self, backend: StorageBackend) -> list[int]:
        """Return the writers whose rows are delivered here."""
        raise NotImplementedError

    def adopt(self, backend: StorageBackend) -> bool:
        """Adopt rows of writers that have died; return whether there may be some."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""

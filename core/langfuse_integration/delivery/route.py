"""Which outlet the settings, and the Langfuse clients that are there, ask for."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..fields import Fields
from ..observation import Score
from ..settings import Settings
from .media import MediaSieve
from .row import Encoder


def outlet(settings: Settings) -> Any:
    """Return the outlet to use: nowhere, or whatever the clients of the moment ask for."""
    return Nowhere() if settings.mode == "off" else Route(settings)


class Route:
    """Leads each batch to the journal, or to a client that the application customised, as soon as there is one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spool: Any = None
        self._handover: Any = None
        self._left: list[Any] = []  # handovers to clients of before, for their counts
        self._clients: tuple[Any, ...] | None = None

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Take a batch where it has to go now."""
        self._look()
        (self._handover or self._opened()).take(finished, opened, scores)

    def prepare(self) -> None:
        """Load everything that will be needed: no thread of ours imports later, when the process may be forked."""
        self._look()
        if self._handover is None:
            self._opened()

    def idle(self) -> float | None:
        """Tidy up; return in how many seconds to come again, if at all."""
        return self._spool.idle() if self._spool is not None else None

    def ending(self) -> None:
        """End what is still open."""
        if self._spool is not None:
            self._spool.ending()

    def flush(self, deadline: float) -> None:
        """Deliver until *deadline* at most."""
        for outlet in self._outlets():
            outlet.flush(deadline)

    def finish(self, deadline: float) -> None:
        """Do the same at the end of a process."""
        for outlet in self._outlets():
            outlet.finish(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of all."""
        outcomes = [outlet.outcome() for outlet in self._outlets()]
        return (
            sum(found[0] for found in outcomes),
            sum(found[1] for found in outcomes),
            sum(found[2] for found in outcomes),
        )

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        counts: Counter[str] = Counter()
        for outlet in self._outlets():
            counts.update(outlet.reasons())
        return counts

    def stop(self) -> None:
        """Release everything."""
        for outlet in self._outlets():
            outlet.stop()

    def forked(self) -> None:
        """Let go of what belongs to the parent process."""
        for outlet in self._outlets():
            outlet.forked()

    def _outlets(self) -> list[Any]:
        return [outlet for outlet in (self._spool, self._handover, *self._left) if outlet is not None]

    def _opened(self) -> Any:
        if self._spool is None:
            from .spool import Spool

            self._spool = Spool.from_settings(self._settings)
        return self._spool

    def _look(self) -> None:
        if "langfuse" not in sys.modules:
            return
        from .client import customised, instances, processor_of

        clients = tuple(instances().values())
        if clients == self._clients:
            return
        self._clients = clients
        client = customised(self._settings)
        processor = processor_of(client) if client is not None else None
        if self._handover is not None and not self._handover.goes_to(processor):
            self._left.append(self._handover)
            self._handover = None
        if processor is not None and self._handover is None:
            from .handover import Handover

            self._handover = Handover(processor, encoder(self._settings, mask=getattr(client, "mask", None)))


def encoder(settings: Settings, mask: Callable[..., Any] | None = None, sieve: MediaSieve | None = None) -> Encoder:
    """Return the encoder that the settings ask for.

    Args:
        mask: that of a client, used when the settings have none.
        sieve: takes media out of payloads.
    """
    resource = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", "langfuse-integration"),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "langfuse-integration",
    }
    keys = (settings.secret_key.get_secret_value() if settings.secret_key else None, settings.public_key)
    fields = Fields(
        settings.capture,
        settings.max_field_bytes,
        settings.mask or mask,
        sieve.sift if sieve is not None else None,
        keys,
    )
    return Encoder(fields, settings.environment, settings.release, resource)


class Nowhere:
    """Tracing is switched off."""

    def prepare(self) -> None:
        """Nothing to load."""

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Forget it."""

    def flush(self, deadline: float) -> None:
        """Nothing to do."""

    def outcome(self) -> tuple[int, int, int]:
        """Nothing was recorded."""
        return 0, 0, 0

    def reasons(self) -> Mapping[str, int]:
        """Nothing was lost."""
        return {}

    def stop(self) -> None:
        """Nothing to release."""

    def forked(self) -> None:
        """Nothing to let go of."""

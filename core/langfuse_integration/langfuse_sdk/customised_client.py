"""Finds the Langfuse client that the application customised, and the outlet that goes through it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..encoding.row import Encoder
from ..export.outlet import Outlet
from ..settings import Settings
from . import sdk_clients
from .provider import provider


class CustomisedClient:
    """The customised client of the moment, looked up again whenever clients come or go.

    Args:
        settings: returns the settings in force.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._current_settings = settings
        self._settings: Settings | None = None
        self._clients: tuple[Any, ...] | None = None
        self._processor: Any = None
        self._outlet: Outlet | None = None

    def outlet(self) -> Outlet | None:
        """Return the outlet of the client that is there now, the same one each time; None without one."""
        if "langfuse" not in sys.modules:
            return None
        clients = tuple(sdk_clients.instances().values())
        active = self._current_settings()
        if clients != self._clients or active is not self._settings:
            self._clients, self._settings = clients, active
            self._look_up(active)
        return self._outlet

    def _look_up(self, active: Settings) -> None:
        client = sdk_clients.customised(active, provider)
        processor = provider.processor_of(client) if client is not None else None
        if processor is self._processor:
            return
        self._processor = processor
        self._outlet = None
        if processor is not None:
            from .client_outlet import ClientOutlet

            mask = getattr(client, "mask", None)
            encoder = Encoder.from_settings(active, mask=mask)
            self._outlet = ClientOutlet(
                processor, encoder, getattr(getattr(client, "tracer_provider", None), "resource", None)
            )
            self._outlet.mask = mask

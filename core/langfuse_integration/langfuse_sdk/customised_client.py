"""Finds the Langfuse client that the application customised, and the outlet that goes through it."""

from __future__ import annotations

import sys
from typing import Any

from ..encoding.row import Encoder
from ..export.outlet import Outlet
from ..settings import Settings
from . import sdk_clients
from .provider import provider


class CustomisedClient:
    """The customised client of the moment, looked up again whenever clients come or go."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: tuple[Any, ...] | None = None
        self._processor: Any = None
        self._outlet: Outlet | None = None

    def outlet(self) -> Outlet | None:
        """Return the outlet of the client that is there now, the same one each time; None without one."""
        if "langfuse" not in sys.modules:
            return None
        clients = tuple(sdk_clients.instances().values())
        if clients != self._clients:
            self._clients = clients
            self._look_up()
        return self._outlet

    def _look_up(self) -> None:
        client = sdk_clients.customised(self._settings, provider)
        processor = provider.processor_of(client) if client is not None else None
        if processor is self._processor:
            return
        self._processor = processor
        self._outlet = None
        if processor is not None:
            from .client_outlet import ClientOutlet

            encoder = Encoder.from_settings(self._settings, mask=getattr(client, "mask", None))
            self._outlet = ClientOutlet(
                processor, encoder, getattr(getattr(client, "tracer_provider", None), "resource", None)
            )

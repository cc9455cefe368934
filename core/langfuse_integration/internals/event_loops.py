"""Whether an event loop runs here, where nothing may wait."""

from __future__ import annotations

from .loaded import loaded


def in_event_loop() -> bool:
    """Return whether an asyncio event loop runs in this thread; asyncio is not loaded for the answer."""
    running_loop = loaded("asyncio.events", "_get_running_loop")
    return running_loop is not None and running_loop() is not None

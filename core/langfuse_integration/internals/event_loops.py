"""Whether an event loop runs here, where nothing may wait."""

from __future__ import annotations

import sys


def in_event_loop() -> bool:
    """Return whether an asyncio event loop runs in this thread; asyncio is not loaded for the answer."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None

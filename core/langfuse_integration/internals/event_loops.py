"""The event loop that runs here, where nothing may wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loaded import loaded

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def running_loop() -> AbstractEventLoop | None:
    """Return the asyncio event loop that runs in this thread, or None; asyncio is not loaded for the answer."""
    get_loop = loaded("asyncio.events", "_get_running_loop")  # CPython 3.11 to 3.14
    if get_loop is None:
        return _running_loop()
    loop: AbstractEventLoop | None = get_loop()
    return loop


def _running_loop() -> AbstractEventLoop | None:
    """Return the running loop by asyncio's public function, which raises where no loop runs."""
    get_loop = loaded("asyncio", "get_running_loop")
    try:
        loop: AbstractEventLoop | None = None if get_loop is None else get_loop()
    except RuntimeError:
        return None
    return loop


def in_event_loop() -> bool:
    """Return whether an asyncio event loop runs in this thread."""
    return running_loop() is not None

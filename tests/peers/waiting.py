"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 60.0, what: str = "what was waited for") -> None:
    """Ask every 5 ms until *condition* is true.

    Raises:
        TimeoutError: It was not within *timeout_s*.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(0.005)


async def until_async(condition: Callable[[], object], timeout_s: float = 60.0, what: str = "what was awaited") -> None:
    """Wait like `until`, and let other tasks run."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        await asyncio.sleep(0.005)

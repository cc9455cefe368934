"""The lock that `logging` takes before each fork of this process."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .loaded import loaded

TIMEOUT_S = 5.0
"""How long a fork waits at most for who logs just then."""


class LoggingReleased:
    """A block before a fork in which other threads may use `logging`: those that import something, or fork, too.

    `logging` takes its lock (`logging._lock`, 3.11 to 3.14) before our hook or after it. Where it is loaded only during
    this block, its hook after the fork releases what none has taken: so that is taken here.
    """

    def __enter__(self) -> None:
        lock: Any = loaded("logging", "_lock")
        self._was_loaded = lock is not None
        self._is_held = bool(self._was_loaded and lock._is_owned())
        if self._is_held:
            lock.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lock: Any = loaded("logging", "_lock")
        if lock is not None and (self._is_held or not self._was_loaded):
            lock.acquire(timeout=TIMEOUT_S)

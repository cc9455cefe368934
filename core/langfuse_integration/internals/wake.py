"""Waking a thread that sleeps."""

from __future__ import annotations

import threading


class Wake:
    """A flag that one thread waits for, and takes down when it wakes.

    Unlike that of `threading.Event`, `set` may interrupt itself and `wait`: the garbage collector may run a finalizer
    anywhere, which records something.
    """

    __slots__ = ("_down",)

    def __init__(self) -> None:
        self._down = threading.Lock()  # taken while the flag is down; each step is one call of C
        self._down.acquire()

    def set(self) -> None:
        """Put the flag up."""
        try:
            self._down.release()
        except RuntimeError:
            pass  # it is up

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the flag is up, and take it down; False after *timeout_s* seconds."""
        return self._down.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0.0))

    def clear(self) -> None:
        """Take the flag down."""
        self._down.acquire(blocking=False)

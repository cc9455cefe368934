"""The one hook of this package around a fork: participants are told of it, and every lock is free in the child.

    _lock = forks.Lock()          # free in a forked child, whoever held it in the parent
    forks.register(participant)   # told before the fork, and after it in the parent and in the child
    forks.in_child(function)      # called in every forked child

Participants are told in the order in which they registered. Threads that load modules of this package finish first:
a child would keep half a module, and its lock, for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

TIMEOUT_S = 5.0
"""How long a fork waits at most for work that is under way."""


class ForkAware(Protocol):
    """Something that has to prepare for a fork, and to go on after it."""

    def before_fork(self, deadline: float) -> None:
        """Prepare, until *deadline* (on time.monotonic's clock) at most."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""
        ...

    def after_fork_in_child(self) -> None:
        """Go on in the child, with nothing that belongs to the parent."""
        ...


class Lock:
    """A mutual-exclusion lock that is made anew in a forked child.

    Args:
        reentrant: the thread that holds it may take it again.
    """

    __slots__ = ("__weakref__", "_lock", "_reentrant", "_renewed")

    def __init__(self, *, reentrant: bool = False) -> None:
        self._reentrant = reentrant
        self._renewed = False
        self._lock: Any = threading.RLock() if reentrant else threading.Lock()
        _locks.add(weakref.ref(self, _locks.discard))

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, as `threading.Lock.acquire` does."""
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        """Give the lock back; a child need not give back what its parent took."""
        try:
            self._lock.release()
        except RuntimeError:
            if not self._renewed:
                raise

    def renew(self) -> None:
        """Forget who holds it."""
        self._renewed = True
        self._lock = threading.RLock() if self._reentrant else threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_locks: set[weakref.ref[Lock]] = set()
_early: list[weakref.ref[ForkAware]] = []
_late: list[weakref.ref[ForkAware]] = []
_in_child: list[Callable[[], object]] = []


def register(participant: ForkAware, *, after_imports: bool = False) -> None:
    """Tell *participant* of every fork from now on, as long as it lives.

    Args:
        after_imports: before a fork it is told when no thread loads modules of this package any more: a participant
            that keeps other threads waiting meanwhile.
    """
    participants = _late if after_imports else _early
    participants[:] = [reference for reference in participants if reference() is not None]
    participants.append(weakref.ref(participant))


def in_child(function: Callable[[], object]) -> None:
    """Call *function* in every forked child, before any participant is told."""
    _in_child.append(function)


@cache
def watch() -> None:
    """Have participants told of forks from now on.

    What is registered with Python last runs first: ahead of `logging`, which takes a lock that imports need.
    """
    if hasattr(os, "register_at_fork"):
        import_module("logging")
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before() -> None:
    deadline = time.monotonic() + TIMEOUT_S
    for participant in _alive(_early):
        participant.before_fork(deadline)
    while _loading() and time.monotonic() < deadline:
        time.sleep(0.001)
    for participant in _alive(_late):
        participant.before_fork(deadline)


def _after_in_parent() -> None:
    for participant in (*_alive(_late), *_alive(_early)):
        participant.after_fork_in_parent()


def _after_in_child() -> None:
    for participant in (*_alive(_late), *_alive(_early)):
        participant.after_fork_in_child()


def _alive(references: list[weakref.ref[ForkAware]]) -> list[ForkAware]:
    return [participant for reference in references if (participant := reference()) is not None]


def _loading() -> bool:
    """Return whether a thread is loading a module of ours, or of what ours need at the first observation."""
    return any(
        getattr(getattr(module, "__spec__", None), "_initializing", False)
        for name, module in list(sys.modules.items())
        if name.startswith(("langfuse_integration", "opentelemetry"))
    )


def _renew_locks() -> None:
    for reference in list(_locks):
        lock = reference()
        if lock is not None:
            lock.renew()
    for function in _in_child:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
if "logging" in sys.modules:  # else with the first observation: importing this package loads nothing
    watch()

"""The one hook of this package around a fork: participants are told of it, and every lock is free in the child.

    _lock = forks.Lock()          # free in a forked child, whoever held it in the parent
    forks.register(participant)   # told before the fork, and after it in the parent and in the child
    forks.in_child(function)      # called in every forked child

Participants are told in the order in which they registered. Threads that load modules for this package finish first,
and none begins to: a child would keep half a module, and its lock, for ever.
"""

from __future__ import annotations

import _imp
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib import _bootstrap
from types import FrameType, TracebackType
from typing import Any, Protocol

from .logging_lock import LoggingReleased
from .thread_frames import frames_by_thread

TIMEOUT_S = 5.0
"""How long a fork waits at most for work that is under way."""

_PACKAGES = ("langfuse_integration", "opentelemetry")
_IMPORTLIB = "<frozen importlib._bootstrap>"
_IMPORTS = frozenset({"_find_and_load", "_lock_unlock_module"})
"""Its functions that take the lock of a module, whose *name* they get (3.11 to 3.14): the second one waits until
another thread has loaded it.
"""


class ForkAware(Protocol):
    """An object that prepares for a fork and continues after it."""

    def before_fork(self, deadline: float) -> None:
        """Prepare, until *deadline* (on time.monotonic's clock) at most."""
        ...

    def after_fork_in_parent(self) -> None:
        """Continue in the parent."""
        ...

    def after_fork_in_child(self) -> None:
        """Continue in the child, without the parent's resources."""
        ...


class Lock:
    """A mutual-exclusion lock that is made anew in a forked child.

    Args:
        reentrant: the thread that holds it may take it again. The garbage collector may interrupt any line by a
            finalizer of the application that records something, or ends a generator of ours: what a lock guards is
            right whenever such a line is reached, or says why not.
    """

    __slots__ = ("__weakref__", "_lock", "_reentrant", "_renewed")

    def __init__(self, *, reentrant: bool = True) -> None:
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

    def locked(self) -> bool:
        """Return whether somebody holds the lock now; for one that is not reentrant."""
        return bool(self._lock.locked())

    def renew(self) -> None:
        """Forget the holder."""
        self._renewed = True
        self._lock = threading.RLock() if self._reentrant else threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_locks: set[weakref.ref[Lock]] = set()
_early: dict[weakref.ref[ForkAware], None] = {}
_late: dict[weakref.ref[ForkAware], None] = {}
_in_child: list[Callable[[], object]] = []
process_id = os.getpid()
"""The pid of this process, unless C code forked it without Python's hooks (uWSGI's workers): see `announce_child`."""
is_child = False
"""Whether this process was forked by one that had loaded this package."""
_one_at_a_time = Lock(reentrant=False)
"""Held from before a fork until after it in the parent: two threads may fork at the same time."""
_told: list[ForkAware] = []
"""Participants of the fork that is under way."""
_forking: set[int] = set()
"""The threads that are forking."""
_imports_held = _is_announced = False


def register(participant: ForkAware, *, after_imports: bool = False) -> None:
    """Tell *participant* of every fork from now on, as long as it lives.

    Args:
        after_imports: before a fork it is told when no thread loads modules of this package any more: a participant
            that keeps other threads waiting meanwhile.
    """
    participants = _late if after_imports else _early
    participants[weakref.ref(participant, lambda reference: participants.pop(reference, None))] = None


def in_child(function: Callable[[], object]) -> None:
    """Call *function* in every forked child, before any participant is told."""
    _in_child.append(function)


def announce_child() -> None:
    """Tell everybody once that this process is a child, if our hook has not: by then `os.getpid()` has changed.

    C code may have forked it; or a hook of the application, or a finalizer that is run in one, comes before ours.
    """
    global _is_announced
    if os.getpid() != process_id:
        _is_announced = True
        _tell_child()


def threads_may_start() -> bool:
    """Return whether the caller may start threads and wait for them.

    It may not around a fork, where the garbage collector may run a finalizer in a hook of anybody's; in the child not
    before `threading` knows who is left (`threading._active`, 3.11 to 3.14, holds the parent's threads till then).
    """
    here = threading.get_ident()
    if here in _forking:
        if len(getattr(threading, "_active", ())) > 1:
            return False
        _forking.discard(here)  # asked again, it counts those that were started since
    return True


def _before() -> None:
    global _is_announced
    deadline = time.monotonic() + TIMEOUT_S
    _forking.add(threading.get_ident())
    _is_announced = False
    with LoggingReleased():
        _one_at_a_time.acquire(timeout=TIMEOUT_S)
        _prepare(deadline)


def _prepare(deadline: float) -> None:
    global _imports_held
    try:
        _all(
            [
                partial(_tell_before, _early, deadline),
                partial(_wait_for_imports, deadline),
                partial(_tell_before, _late, deadline),
            ]
        )
    finally:
        _imports_held = _hold_imports(deadline)


def _tell_before(participants: dict[weakref.ref[ForkAware], None], deadline: float) -> None:
    alive = _alive(participants)
    _told.extend(alive)
    _all([partial(participant.before_fork, deadline) for participant in alive])


def _after_in_parent() -> None:
    _forking.discard(threading.get_ident())
    try:
        _release_imports()
        _all([one.after_fork_in_parent for one in _told])
    finally:
        _told.clear()
        with suppress(RuntimeError):  # the wait for another fork timed out
            _one_at_a_time.release()


def _after_in_child() -> None:
    if not _is_announced:
        _tell_child()
    _forking.clear()


def _tell_child() -> None:
    global process_id, is_child
    process_id, is_child = os.getpid(), True
    for reference in list(_locks):
        lock = reference()
        if lock is not None:
            lock.renew()
    _release_imports()
    _told.clear()
    _all([*_in_child, *(one.after_fork_in_child for one in _alive(_late, _early))])


def _all(calls: Iterable[Callable[[], object]]) -> None:
    """Make every call, then raise the first error: Python prints what hooks around a fork raise, and forks."""
    errors: list[Exception] = []
    for call in calls:
        try:
            call()
        except Exception as error:  # noqa: BLE001  the others have to be told too
            errors.append(error)
    if errors:
        raise errors[0]


def _alive(*registered: dict[weakref.ref[ForkAware], None]) -> list[ForkAware]:
    references = [reference for participants in registered for reference in list(participants)]
    return [participant for reference in references if (participant := reference()) is not None]


def _wait_for_imports(deadline: float) -> None:
    while _imports_for_us() and time.monotonic() < deadline:
        time.sleep(0.001)


def _hold_imports(deadline: float) -> bool:
    """Let no thread begin an import until the fork is over; return whether the interpreter's import lock is held.

    A child has a copy of every module lock that another thread of the parent holds, and would wait for it for ever.
    `_imp.acquire_lock` (3.11 to 3.14) is the lock that an import takes first; its holder may fork, and its child holds
    it too.
    """
    if not hasattr(_imp, "acquire_lock"):
        return False
    while True:
        _imp.acquire_lock()
        if not _imports_for_us() or time.monotonic() > deadline:
            return True
        _imp.release_lock()
        time.sleep(0.001)


def _release_imports() -> None:
    global _imports_held
    if _imports_held:
        _imports_held = False
        with suppress(RuntimeError):
            _imp.release_lock()


def _imports_for_us() -> bool:
    """Return whether another thread is importing a module of ours, of OpenTelemetry, or anything that these need.

    Without the interpreter lock, whether one is importing anything: the variables of a thread that runs cannot be read.
    """
    here = threading.get_ident()
    if "free-threading" in sys.version:
        return any(owner not in (None, here) for owner in _importing_threads())
    return any(_imports_for(frame) for thread, frame in frames_by_thread().items() if thread != here)


def _importing_threads() -> Iterator[int | None]:
    """Yield the threads that import a module, from importlib's locks of modules (3.11 to 3.14)."""
    for reference in list(getattr(_bootstrap, "_module_locks", {}).values()):
        yield getattr(reference(), "owner", None)


def _imports_for(frame: FrameType | None) -> bool:
    importing = False
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTLIB and frame.f_code.co_name in _IMPORTS:
            importing = True
            if str(frame.f_locals.get("name")).startswith(_PACKAGES):
                return True
        elif importing and str(frame.f_globals.get("__name__")).startswith(_PACKAGES):
            return True
        frame = frame.f_back
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

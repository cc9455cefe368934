"""Warnings about misuse of sessions: once per line of the application, with the cure.

Said is what would otherwise show much later, as observations that are missing from a session: recorded before any
session was set, in a thread that does not see it, or set where nothing is recorded any more. Whoever leaves work
untagged on purpose does it in `with langfuse_manager.detached()`, and is left alone.
"""

from __future__ import annotations

import threading
import weakref
from contextvars import copy_context
from typing import NamedTuple

from ..internals import forks
from ..internals.faults import shielded, warn_once
from ..sessions.cells import Cell, Use
from ..sessions.session import Session
from ..sessions.store import SessionStore
from .observation import Observation

LOOKS = 1_000
"""The most call-site look-ups of a process; each costs microseconds."""
PLACES = 64
"""Lines that are remembered until there is something to say of them."""

_ADVISING = shielded("looking for what goes wrong with sessions")
_lock = forks.Lock()


class Place(NamedTuple):
    """An untagged trace and its call site."""

    name: str
    line: str


class Setting(NamedTuple):
    """A session that was set outside of any host, and whether anything came of it."""

    cell: weakref.ref[Cell]
    use: Use
    session_id: str
    line: str


class MisuseWarnings:
    """The state of the checks in one process."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.forget()

    def forget(self) -> None:
        """Forget all state; for tests."""
        self._looks = LOOKS
        self._first_set: str | None = None
        self._early: dict[str, Place] = {}
        self._of_visit: weakref.WeakKeyDictionary[Cell, Place] = weakref.WeakKeyDictionary()
        self._settings: list[Setting] = []

    def untagged(self, observation: Observation) -> None:
        """Check a root that starts without a session, and warn unless that is intended."""
        if self._looks <= 0:
            return
        with _ADVISING:
            cell = self._store.cell()
            if cell is not None and cell.is_set:
                return  # cleared, or detached: on purpose
            line = self._line()
            if line is None:
                return
            if cell is not None and cell.owner is not None:
                self._of_visit.setdefault(cell, Place(observation.name, line))
            elif self._first_set is not None and _in_a_bare_thread():
                _warn_of_thread(observation.name, line)
            elif self._first_set is None and len(self._early) < PLACES:
                self._early.setdefault(line, Place(observation.name, line))
            self._look_for_lost(observation.name, line)

    def was_set(self, session: Session) -> None:
        """Check a session that was just set: warn if traces were recorded before it, or if it has no effect."""
        if self._looks <= 0:
            return
        with _ADVISING:
            cell = self._store.cell()
            if cell is None:
                return
            if cell.owner is not None:
                place = self._of_visit.pop(cell, None)
                if place is not None:
                    _warn_of_order(place, self._line())
            else:
                if len(self._settings) < PLACES:
                    self._watch(cell, session)
            if self._first_set is None:
                self._first_set = self._line() or "an unknown line"
                for place in self._early.values():
                    _warn_of_order(place, self._first_set)
                self._early.clear()

    def _watch(self, cell: Cell, session: Session) -> None:
        line = self._line()
        if line is not None and cell.use is None:
            cell.use = Use()
            with _lock:
                self._settings.append(Setting(weakref.ref(cell), cell.use, str(session.session_id), line))

    def _look_for_lost(self, name: str, line: str) -> None:
        """Say which sessions were set where nothing was ever recorded, now that something is missing one."""
        with _lock:
            gone = [setting for setting in self._settings if setting.cell() is None]
            self._settings = [each for each in self._settings if each not in gone and not each.use.used]
        for setting in gone:
            if not setting.use.used:
                warn_once(
                    f"lost {setting.line}",
                    "session %r, set at %s, was in force only there, in a thread, task or sync dependency that has "
                    "ended with nothing recorded in it, and now %r (%s) is recorded without a session: set the session "
                    "where the work is done, start a thread with langfuse_manager.bind(function), or add "
                    "langfuse_integration.hosts.asgi.SessionMiddleware to a web application",
                    setting.session_id,
                    setting.line,
                    name,
                    line,
                )

    def _line(self) -> str | None:
        from ..internals.callsite import callsite

        self._looks -= 1
        return callsite()


def _in_a_bare_thread() -> bool:
    """Return whether this thread was started with nothing of its starter's context."""
    return threading.current_thread() is not threading.main_thread() and not len(copy_context())


def _warn_of_thread(name: str, line: str) -> None:
    warn_once(
        f"thread {line}",
        "%r (%s) is recorded without a session in thread %r: a plain thread does not see the session of the code that "
        "starts it. Start it with langfuse_manager.bind(function), or call "
        "langfuse_integration.hosts.threads.instrument_threads() once; if it is nobody's work, put it into "
        "`with langfuse_manager.detached()`",
        name,
        line,
        threading.current_thread().name,
    )


def _warn_of_order(place: Place, set_at: str | None) -> None:
    warn_once(
        f"early {place.line}",
        "%r (%s) was recorded before the session was set (%s), so it is in no session: set the session first",
        place.name,
        place.line,
        set_at or "later",
    )

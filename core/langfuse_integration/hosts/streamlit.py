"""A Streamlit server: every browser tab has its own session. Loads by itself once the application imports Streamlit.

A tab is known by its id and by its session-state object: under Streamlit's AppTest every application has the same id.
At the start of each script run the tab's cell is placed in the context, so that everything that copies the context
(asyncio, LangChain's pools, parallel fragments) carries it along. Where that hook is not to be had, the tab is looked
up when something is first recorded. `st.session_state` itself is never touched: in a script run that a newer one has
superseded, reading it raises into whoever reads.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from streamlit.runtime.scriptrunner import get_script_run_ctx

from ..internals import forks
from ..internals.faults import shielded
from ..sessions.cells import Cell
from ..sessions.store import SessionStore

TAB_LIMIT = 10_000
"""Tabs that are kept at most, where Streamlit does not let us see when one is gone."""

_SCRIPT_THREAD = "ScriptRunner.scriptThread"
_PLACING = shielded("placing a Streamlit tab's session at the start of a script run")


def host(store: SessionStore) -> StreamlitHost:
    """Return the host for *store*, with its hook at the start of every script run."""
    found = StreamlitHost(store)
    found.placed_at_start = _at_script_start(found.place)
    return found


class StreamlitHost:
    """Keeps one cell per browser tab, as long as Streamlit keeps the tab's session state.

    Attributes:
        placed_at_start: whether script runs start with their tab's cell; else it is looked up on touch.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._tabs: dict[tuple[str, int], tuple[Cell, object]] = {}
        self._guard = forks.Lock()  # a tab may be collected while this very thread is making another
        self._told: ContextVar[tuple[Cell, object] | None] = ContextVar("langfuse_integration_told", default=None)
        self._thread = _ScriptThread()
        self.placed_at_start = False

    def __len__(self) -> int:
        return len(self._tabs)

    def cell(self) -> Cell | None:
        """Return the cell of the tab that this thread, or the thread that this context was copied from, works for.

        A thread is told its tab by Streamlit's `add_script_run_ctx`, and keeps it until it is told another one, as a
        thread of a pool may be. So what a thread was told is noted with that thread: in a context that was copied to
        another thread it goes before what that one was told, in its own thread it does not. Only in script threads,
        which never serve two tabs, it is placed for good.
        """
        told = self._told.get()
        here = self._thread.token
        if told is not None and told[1] is not here:
            return told[0]
        run = get_script_run_ctx(suppress_warning=True)
        if run is None:
            return None
        cell = self._cell_of(run)
        if threading.current_thread().name == _SCRIPT_THREAD:
            self._store.place(cell)
        elif told is None or told[0] is not cell:
            self._told.set((cell, here))
        return cell

    def place(self, run: Any) -> None:
        """Place the cell of *run*, a script run that starts in this context."""
        if get_script_run_ctx(suppress_warning=True) is run:
            self._store.place(self._cell_of(run))

    def _cell_of(self, run: Any) -> Cell:
        anchor = _anchor_of(run)
        key = (run.session_id, id(anchor))
        known = self._tabs.get(key)
        if known is not None:
            return known[0]
        with self._guard:
            known = self._tabs.get(key)
            if known is None:
                known = self._tabs[key] = (Cell.hosted(), self._until_gone(anchor, key))
            return known[0]

    def _until_gone(self, anchor: object, key: tuple[str, int]) -> object:
        """Return what has to be kept so that the tab of *key* is forgotten together with *anchor*."""
        tabs = self._tabs
        if _is_weakly_held(anchor):
            return weakref.ref(anchor, lambda gone: tabs.pop(key, None))
        while len(tabs) >= TAB_LIMIT:
            tabs.pop(next(iter(tabs)), None)
        return anchor  # keeps its identity from being reused


class _ScriptThread(threading.local):
    """An identity for each thread; unlike a thread id it is never reused."""

    def __init__(self) -> None:
        self.token = object()


def _anchor_of(run: Any) -> object:
    """Return an object that is the tab's own and lives as long as the tab of *run*; None where Streamlit shows none.

    The SessionState is one. Where that takes no weak references (seen in Streamlit 1.67), its query parameters do,
    which are made with it and never replaced.
    """
    try:
        # Not by `run.session_state._state`: an unknown name is looked up as a key there, which may raise.
        state = object.__getattribute__(run.session_state, "_state")
    except AttributeError:
        return None
    for anchor in (state, getattr(state, "query_params", None)):
        if _is_weakly_held(anchor):
            return anchor
    return state


def _is_weakly_held(anchor: object) -> bool:
    # Tried, not looked up: until Python 3.11.5 a dataclass with slots has a `__weakref__` that raises TypeError.
    try:
        weakref.ref(anchor)
    except TypeError:
        return False
    return True


def _at_script_start(place: Callable[[Any], None]) -> bool:
    """Have *place* called with the ScriptRunContext of every script run that starts; False when there is no such hook.

    The only place that changes anything in Streamlit. `ScriptRunContext.reset` is called in the script's thread, before
    callbacks and the script itself, also when `st.rerun` reuses the thread (1.40 to 1.67).
    """
    try:
        from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext
    except ImportError:
        return False
    scripts: Any = ScriptRunContext
    original = getattr(scripts, "reset", None)
    if not callable(original):
        return False

    @functools.wraps(original)
    def reset(run: Any, *positional: Any, **options: Any) -> Any:
        result = original(run, *positional, **options)
        with _PLACING:
            place(run)
        return result

    scripts.reset = reset
    return True

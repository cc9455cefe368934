"""Gradio: every browser tab has its own session. Loads by itself once the application imports Gradio.

A tab is known by Gradio's `session_hash`, by which Gradio keeps `gr.State` too; an event without one, or a batch of
several tabs, begins with no session. Gradio runs each step of a generator in a fresh copy of a context; here all steps
of one generator run in the same one, so that sessions, spans and whatever else its blocks set hold to its end.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context
from typing import Any

from ..internals import forks
from ..internals.bounded import BoundedDict
from ..internals.faults import shielded
from ..sessions.cells import Cell
from ..sessions.store import SessionStore

TAB_LIMIT = 10_000
"""Tabs that are kept at most, those used last; Gradio does not say of each when it is gone."""

_PLACING = shielded("placing a Gradio tab's session at the start of an event")
_MARKER = "_langfuse_integration_placed"


def host(store: SessionStore) -> GradioHost:
    """Return the host for *store*, with its hooks into Gradio (6.31)."""
    gradio = GradioHost(store)
    _at_event_start(gradio.place)
    _in_one_context()
    return gradio


class GradioHost:
    """Keeps one cell per browser tab."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._tabs: BoundedDict[str, Cell] = BoundedDict(TAB_LIMIT)
        self._lock = forks.Lock()

    def cell(self) -> Cell | None:
        """Return the cell of the tab whose event runs here, if that began before the hooks were there."""
        try:
            from gradio.context import LocalContext  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

            request: Any = LocalContext.request.get(None)
        except (ImportError, AttributeError):
            return None
        return self._cell_of(request) if request is not None else None

    def place(self, requests: Any) -> None:
        """Place the cell of the tab of *requests*: a request, a list of them for a batch, or None."""
        self._store.place_once(self._cell_of(requests))

    def _cell_of(self, requests: Any) -> Cell:
        every = requests if isinstance(requests, list) else [requests]
        tabs = {getattr(request, "session_hash", None) for request in every}
        tab = tabs.pop() if len(tabs) == 1 else None
        if not isinstance(tab, str) or not tab:
            return Cell.hosted()
        with self._lock:
            cell = self._tabs.get(tab) or Cell.hosted()
            self._tabs.renew(tab, cell)
        return cell


def _at_event_start(place: Callable[[Any], None]) -> None:
    """Have *place* called with the request, or the list of them, of each step of an event, in the event's own task."""
    from gradio.blocks import Blocks  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    blocks: Any = Blocks
    original: Any = getattr(blocks, "call_function", None)
    if not callable(original) or hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    async def call_function(self: Any, *arguments: Any, **options: Any) -> Any:
        with _PLACING:
            place(options.get("requests", arguments[3] if len(arguments) > 3 else None))
        called: Any = original(self, *arguments, **options)
        return await called

    setattr(call_function, _MARKER, True)
    blocks.call_function = call_function


def _in_one_context() -> None:
    """Run all steps of a generator in a copy of the context in which its first one runs."""
    from gradio import utils  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    gradio: Any = utils
    original = getattr(gradio, "run_sync_iterator_async", None)
    if not callable(original) or hasattr(original, _MARKER):
        return
    contexts: weakref.WeakKeyDictionary[Iterator[Any], Context] = weakref.WeakKeyDictionary()

    @functools.wraps(original)
    def run_sync_iterator_async(iterator: Iterator[Any]) -> Any:
        try:
            context = contexts.setdefault(iterator, copy_context())
        except TypeError:  # an iterator that takes no weak reference; only generators hold blocks
            return original(iterator)
        return context.run(original, iterator)

    setattr(run_sync_iterator_async, _MARKER, True)
    gradio.run_sync_iterator_async = run_sync_iterator_async

"""The handler for LlamaIndex's callback managers, and the switch for the whole process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler

from langfuse_integration import Session
from langfuse_integration.internals import forks
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import ambient, tracing

from . import bindings, continuations, foreign, messages, nodes, places, stop_reasons, tools, unspanned, workflow_events
from .events import EventHandler
from .private import ROOT, own_callback_manager
from .spans import LastSpanHandler, SpanHandler

_SWITCHING = shielded("attaching to LlamaIndex")
_PROCESS = "process"
_lock = forks.Lock()
_users: set[object] = set()
"""Attached handlers, and `_PROCESS` for `instrument()`: what LlamaIndex is recorded for."""
_span_handler = SpanHandler()
_event_handler = EventHandler()
_last_span_handler = LastSpanHandler()


class SessionHandler(BaseCallbackHandler):
    """Records all of LlamaIndex in the process, from its construction on.

        Settings.callback_manager = CallbackManager([SessionHandler()])

    The events of callback managers cover neither agents nor tools; this handler ignores them and uses LlamaIndex's
    instrumentation instead. Several handlers record everything once.

    Args:
        session_id: the session of whatever has this handler in its callback manager or in that of `Settings`; it takes
            precedence over the active session. None: the active session where something starts.
        user_id: likewise.
        tags: likewise; short texts that Langfuse shows on the traces.
        metadata: likewise; values by text keys.

    Raises:
        ValueError, TypeError: an id, tag or key that Langfuse cannot group by.
    """

    def __init__(
        self,
        session_id: str | None = None,
        user_id: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        everything = list(CBEventType)
        super().__init__(event_starts_to_ignore=everything, event_ends_to_ignore=everything)
        given = session_id is not None or user_id is not None or tags or metadata
        self.bound_session = Session(session_id, user_id, tags=tags, metadata=metadata) if given else None
        self._managers: list[tuple[Any, CallbackManager | None]] = []
        if self.bound_session is not None:
            bindings.count(1)
        _start_for(self)

    def attach(self, settings: Any = None) -> SessionHandler:
        """Put this handler into the callback manager of *settings* (LlamaIndex's `Settings` when None), once."""
        if settings is None:
            from llama_index.core import Settings as settings
        manager = own_callback_manager(settings)
        if manager is None:
            settings.callback_manager = CallbackManager([self])
            self._managers.append((settings, None))
        elif self not in manager.handlers:
            manager.add_handler(self)
            self._managers.append((settings, manager))
        _start_for(self)
        return self

    def detach(self) -> None:
        """Undo `attach`; recording stops unless `instrument()` or another handler needs it."""
        for settings, manager in self._managers:
            if manager is None:
                settings._callback_manager = None
            elif self in manager.handlers:
                manager.remove_handler(self)
        self._managers.clear()
        _stop_for(self)

    # -- called by callback managers

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """The instrumentation reports this start as well: it is not recorded from here."""
        return event_id

    def on_event_end(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any
    ) -> None:
        """The instrumentation reports this end as well: it is not recorded from here."""

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces begin with their first span, not here."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Traces end with their last span, not here."""


def instrument() -> None:
    """Record LlamaIndex in the whole process; a second call has no effect."""
    _start_for(_PROCESS)


def uninstrument() -> None:
    """Undo `instrument`; attached handlers go on recording."""
    _stop_for(_PROCESS)


def instrumented() -> bool:
    """Return whether `instrument()` is in force in this process; attached handlers do not count."""
    return _PROCESS in _users


def _start_for(user: object) -> None:
    with _SWITCHING, _lock:
        _users.add(user)
        if _span_handler not in ROOT.span_handlers:
            # First: what other handlers make current for a span must not stand above our row of it.
            ROOT.span_handlers.insert(0, _span_handler)
            ROOT.event_handlers.insert(0, _event_handler)
            ambient.register(places.current)
            for part in (messages, nodes, tools, workflow_events):
                part.register()
            unspanned.wrap()
            continuations.wrap()
        foreign.start(_last_span_handler)
    tracing.hooks.ready()


def _stop_for(user: object) -> None:
    with _SWITCHING, _lock:
        if user in _users and isinstance(user, SessionHandler) and user.bound_session is not None:
            bindings.count(-1)
        _users.discard(user)
        if _users:
            return
        foreign.stop()
        ours = (_span_handler, _last_span_handler)
        handlers = ROOT.span_handlers
        handlers[:] = [handler for handler in handlers if not any(handler is own for own in ours)]
        ROOT.event_handlers[:] = [handler for handler in ROOT.event_handlers if handler is not _event_handler]
        ambient.unregister(places.current)
        unspanned.unwrap()
        continuations.unwrap()
        stop_reasons.unfollow()

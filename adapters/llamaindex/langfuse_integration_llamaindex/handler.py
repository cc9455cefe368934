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

from . import bindings, foreign, messages, nodes, places, tools, workflow_events
from .events import EventHandler
from .private import own_callback_manager, root
from .spans import SpanHandler

_SWITCHING = shielded("attaching to LlamaIndex")
_PROCESS = "process"
_lock = forks.Lock()
_wanted: set[object] = set()
_span_handler = SpanHandler()
_event_handler = EventHandler()


class SessionHandler(BaseCallbackHandler):
    """Records LlamaIndex, everything in the process, from the moment it is made.

        Settings.callback_manager = CallbackManager([SessionHandler()])

    The callbacks of a callback manager tell neither of agents nor of tools, so that this ignores every one of them and
    listens to LlamaIndex's instrumentation instead. Several of them record everything once.

    Args:
        session_id: a session for everything that has this handler in its callback manager, or that `Settings` has it
            for; it goes before the active one. None: the active session of whoever starts something.
        user_id: the same for the user.
        tags: the same, short texts that Langfuse shows on the traces.
        metadata: the same, values by text keys.

    Raises:
        ValueError, TypeError: an id, tag or key that Langfuse could not group by.
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
        _want(self)

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
        _want(self)
        return self

    def detach(self) -> None:
        """Take back what `attach` did; when no other handler wants it, nothing is recorded any more."""
        for settings, manager in self._managers:
            if manager is None:
                settings._callback_manager = None
            elif self in manager.handlers:
                manager.remove_handler(self)
        self._managers.clear()
        _release(self)

    # -- what a callback manager calls

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Do nothing."""
        return event_id

    def on_event_end(
        self, event_type: CBEventType, payload: dict[str, Any] | None = None, event_id: str = "", **kwargs: Any
    ) -> None:
        """Do nothing."""

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing."""

    def end_trace(self, trace_id: str | None = None, trace_map: dict[str, list[str]] | None = None) -> None:
        """Do nothing."""


def instrument() -> None:
    """Record LlamaIndex in the whole process; twice is once."""
    _want(_PROCESS)


def uninstrument() -> None:
    """Take back what `instrument` did; handlers that are still attached go on."""
    _release(_PROCESS)


def instrumented() -> bool:
    """Return whether `instrument()` is in force in this process; handlers that are attached do not count."""
    return _PROCESS in _wanted


def _want(who: object) -> None:
    with _SWITCHING, _lock:
        _wanted.add(who)
        dispatcher = root()
        if _span_handler not in dispatcher.span_handlers:
            # The first of all: what other handlers make current must not stand above what we open for the same span.
            dispatcher.span_handlers.insert(0, _span_handler)
            dispatcher.event_handlers.insert(0, _event_handler)
            ambient.register(places.current)
            for part in (messages, nodes, tools, workflow_events):
                part.register()
        foreign.look()
    tracing.hooks.ready()


def _release(who: object) -> None:
    with _SWITCHING, _lock:
        if who in _wanted and isinstance(who, SessionHandler) and who.bound_session is not None:
            bindings.count(-1)
        _wanted.discard(who)
        if _wanted:
            return
        dispatcher = root()
        dispatcher.span_handlers[:] = [held for held in dispatcher.span_handlers if held is not _span_handler]
        dispatcher.event_handlers[:] = [held for held in dispatcher.event_handlers if held is not _event_handler]
        ambient.unregister(places.current)

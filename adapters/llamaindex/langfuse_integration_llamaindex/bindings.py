"""The session of a root: what a handler was bound to, and what a workflow carried along from where it was started."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from langfuse_integration.recording import ambient, tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.sessions.session import Session

from .private import own_callback_manager

CARRIED = "langfuse_integration"

_bound_handlers = 0
_carried: ContextVar[Carried | None] = ContextVar("langfuse_integration_llamaindex_carried", default=None)


def count(change: int) -> None:
    """Note that there is one bound handler more or less: without any, nobody looks for them."""
    global _bound_handlers
    _bound_handlers = max(0, _bound_handlers + change)


def bound(instance: Any) -> Session | None:
    """Return the session of the handler that *instance*, or else `Settings`, has in its callback manager."""
    if not _bound_handlers:
        return None
    from llama_index.core import Settings

    for manager in (getattr(instance, "callback_manager", None), own_callback_manager(Settings)):
        for handler in getattr(manager, "handlers", ()):
            session = getattr(handler, "bound_session", None)
            if isinstance(session, Session):
                return session
    return None


class Carried:
    """What a run of a workflow takes along: its session and the observation above it, as plain values.

    A runtime may start the run in another context, thread or process than the one that asked for it.
    """

    __slots__ = ("exported", "origin", "session", "span", "started_ns", "trace", "values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        session = None
        if values.keys() - {"parent"}:
            session = Session.from_values(values)
        self.session = self.origin = session
        trace, span, exported = values.get("parent") or ("0", "0", True)
        self.trace = int(trace, 16)
        self.span = int(span, 16)
        self.exported = bool(exported)
        self.started_ns = 0

    def above(self) -> Parent | None:
        """Return the observation above, where the context itself does not tell."""
        return self if self.span and ambient.current() is None else None


def capture() -> dict[str, Any]:
    """Return what is active here, as values that survive being written as JSON."""
    above = ambient.current()
    session, _ = tracing.store.resolve(above)
    values: dict[str, Any] = {}
    if session is not None:
        values = session.to_values()
    if above is not None:
        values["parent"] = [f"{above.trace:032x}", f"{above.span:016x}", above.exported]
    if not values:
        taken = _carried.get()
        return {CARRIED: taken.values} if taken is not None else {}
    return {CARRIED: values}


def restore(context: Mapping[str, Any]) -> None:
    """Take up what `capture` found, in the context of the run that is about to start."""
    values = context.get(CARRIED)
    _carried.set(Carried(values) if isinstance(values, Mapping) else None)


def carried() -> Carried | None:
    """Return what the run around this line took along, or None."""
    return _carried.get()

"""The session of a root: a bound handler's, or the one that a workflow carries along from its caller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from langfuse_integration.recording import ambient, tracing
from langfuse_integration.recording.anchor import Anchor, Parent
from langfuse_integration.sessions.session import Session

from .private import own_callback_manager

CARRIED = "langfuse_integration"

_bound_handlers = 0
_carried: ContextVar[CarriedContext | None] = ContextVar("langfuse_integration_llamaindex_carried", default=None)


def count(change: int) -> None:
    """Change the number of bound handlers by *change*: at zero no root looks for one."""
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


class CarriedContext:
    """The session of a workflow's run and the observation above it, carried along as plain values.

    A runtime may start the run in another context, thread or process than its caller's.

    Attributes:
        values: as `capture` returned them.
        anchor: the session and the observation above; span 0 when there is none.
    """

    __slots__ = ("anchor", "values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        session = None
        if values.keys() - {"parent"}:
            session = Session.from_values(values)
        trace, span, exported = values.get("parent") or ("0", "0", True)
        self.anchor = Anchor(int(trace, 16), int(span, 16), (session, session), exported=bool(exported))

    def above(self) -> Parent | None:
        """Return the observation above; None when there is none, or when this context has one itself."""
        return self.anchor if self.anchor.span and ambient.current() is None else None


def capture() -> dict[str, Any]:
    """Return the active session and observation, as values that survive being written as JSON."""
    above = ambient.current()
    session, _ = tracing.store.resolve(above)
    values: dict[str, Any] = {}
    if session is not None:
        values = session.to_values()
    if above is not None:
        values["parent"] = [f"{above.trace:032x}", f"{above.span:016x}", above.exported]
    if not values:
        context = _carried.get()
        return {CARRIED: context.values} if context is not None else {}
    return {CARRIED: values}


def restore(context: Mapping[str, Any]) -> None:
    """Make the values that `capture` returned available to the run that starts in this context."""
    values = context.get(CARRIED)
    _carried.set(CarriedContext(values) if isinstance(values, Mapping) else None)


carried: Callable[[], CarriedContext | None] = _carried.get
"""Returns the values that the current run carries along, or None."""

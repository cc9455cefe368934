"""Work that belongs elsewhere than where it runs: a callback of a connection that somebody opened long ago.

Such a callback runs in the context of whoever opened the connection. In a `Placed` block neither the session nor
anything that is current there counts: the session and the parent given do, and what starts inside.
"""

from __future__ import annotations

from types import TracebackType

from ..sessions.session import Session
from . import ambient, otel_api, otel_spans, tracing
from .anchor import Parent
from .observation import Observation


class Placed:
    """A `with` block under *parent*, in *session*; None is no parent, and untagged."""

    __slots__ = ("_override", "_parent", "_scope", "_span")

    def __init__(self, session: Session | None, parent: Parent | None) -> None:
        self._scope = tracing.store.scoped(session)
        self._parent = parent

    def __enter__(self) -> None:
        self._scope.__enter__()
        self._span = otel_spans.place(self._parent)
        self._override = ambient.override_current(self._parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ambient.leave(self._override)
        otel_api.detach(self._span)
        self._scope.__exit__(kind, error, trace)


class Bound:
    """The current session and parent, to be placed anywhere and repeatedly."""

    __slots__ = ("_parent", "_session")

    def __init__(self) -> None:
        self._session = tracing.store.current()
        self._parent = ambient.current()

    def here(self) -> Placed:
        """Return a block in that session, under that parent unless it has ended meanwhile."""
        parent = self._parent
        if isinstance(parent, Observation) and parent.ended_ns:
            parent = None
        return Placed(self._session, parent)

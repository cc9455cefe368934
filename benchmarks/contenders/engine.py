"""Engines, which record spans, and `Hooked`, which connects an engine to each framework by its simplest hook.

`Floor` and `Deferred` differ only in the engine, so the hooks cost them the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Protocol

from ..contender import Contender, Outcome, Terms


class Engine(Protocol):
    """Records spans."""

    def start(self, name: str, kind: str, above: Any, given: Any, session: str) -> Any:
        """Start a span under *above* (what an earlier start returned, or None), and return it."""
        ...

    def end(self, span: Any, outcome: Any) -> None:
        """End a span."""
        ...

    def deliver(self) -> None:
        """Export everything that has ended."""
        ...

    def delivered(self) -> int | None:
        """Return how many spans were exported, or None if unknown."""
        ...


_above: ContextVar[Any] = ContextVar("above", default=None)
_session: ContextVar[str] = ContextVar("session", default="")


class _Block(Outcome):
    """A `with` block that is one span."""

    __slots__ = ("engine", "given", "name", "outcome", "span", "token")

    token: Token[Any]

    def __init__(self, engine: Engine, name: str, given: Any) -> None:
        self.engine = engine
        self.name = name
        self.given = given
        self.outcome: Any = None

    def __enter__(self) -> _Block:
        self.span = self.engine.start(self.name, "span", _above.get(), self.given, _session.get())
        self.token = _above.set(self.span)
        return self

    def update(self, *, output: Any) -> None:
        self.outcome = output

    def __exit__(self, *raised: object) -> None:
        _above.reset(self.token)
        self.engine.end(self.span, self.outcome)


class _Session:
    """A `with` block in a session."""

    __slots__ = ("session_id", "token")

    token: Token[str]

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    def __enter__(self) -> None:
        self.token = _session.set(self.session_id)

    def __exit__(self, *raised: object) -> None:
        _session.reset(self.token)


class Hooked(Contender):
    """An engine behind the plainest hook of each framework.

    Args:
        engine: makes the engine.
    """

    def __init__(self, engine: Callable[[Terms], Engine]) -> None:
        self._make = engine

    def begin(self, terms: Terms) -> None:
        """Make the engine and hook it in."""
        self.engine = self._make(terms)
        self._callbacks: list[Any] = []
        if terms.framework == "langchain":
            from .hook_langchain import Handler

            self._callbacks = [Handler(self.engine)]
        elif terms.framework == "llamaindex":
            from .hook_llamaindex import install

            install(self.engine)

    def config(self) -> dict[str, Any]:
        """Return the callback handler."""
        return {"callbacks": self._callbacks}

    def client(self, session: Any) -> Any:
        """Return a client that makes a span of each call."""
        return _Client(session, self.engine)

    def session(self, session_id: str) -> AbstractContextManager[Any]:
        """Return a block in a session."""
        return _Session(session_id)

    def block(self, name: str, given: Any) -> AbstractContextManager[Any]:
        """Return a block that is a span."""
        return _Block(self.engine, name, given)

    def deliver(self) -> None:
        """Let the engine export."""
        self.engine.deliver()

    def delivered(self) -> int | None:
        """Return how many spans the engine has exported, or None if unknown."""
        return self.engine.delivered()


class _Client:
    """An MCP client that makes a span of each call."""

    def __init__(self, session: Any, engine: Engine) -> None:
        self._session = session
        self._engine = engine

    async def call_tool(self, name: str, arguments: Any) -> Any:
        """Call a tool."""
        engine = self._engine
        span = engine.start(name, "tool", None, arguments, "")
        result = None
        try:
            result = await self._session.call_tool(name, arguments)
        finally:
            engine.end(span, result)
        return result

"""The base class of contenders: each is one way of tracing the applications; the base class traces nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

Framework = Literal["blocks", "langchain", "llamaindex", "mcp"]
FRAMEWORKS: tuple[Framework, ...] = ("blocks", "langchain", "llamaindex", "mcp")
Delivery = Literal["discard", "keep", "http"]

SESSION, USER = "session-1", "user-1"


class Terms(NamedTuple):
    """The conditions of a measurement.

    Attributes:
        framework: what the application is made with; `blocks` are plain `with` blocks.
        delivery: `discard` what has been made ready for export, send it over `http`, or (ours only) `keep` it here.
        address: where the receiver listens.
    """

    framework: Framework
    delivery: Delivery
    address: str


class Outcome:
    """The target of a `with` block; it takes the output of the block."""

    __slots__ = ()

    def update(self, *, output: Any) -> None:
        """Set the output of the block."""


_NOTHING: AbstractContextManager[Any] = nullcontext(Outcome())


class Contender:
    """The untraced application; the others override what they need."""

    frameworks: tuple[Framework, ...] = FRAMEWORKS

    def begin(self, terms: Terms) -> None:
        """Switch tracing on; called once, before the application is built."""

    def config(self) -> dict[str, Any]:
        """Return what LangChain applications pass as their `config`."""
        return {}

    def client(self, session: Any) -> Any:
        """Return the MCP client that the application calls."""
        return session

    def session(self, session_id: str) -> AbstractContextManager[Any]:
        """Return a block in a session."""
        return _NOTHING

    def block(self, name: str, given: Any) -> AbstractContextManager[Any]:
        """Return a block that is one step, with *given* as its input; its target has the method of `Outcome`."""
        return _NOTHING

    def deliver(self) -> None:
        """Deliver everything that is waiting."""

    def delivered(self) -> int | None:
        """Return how many spans went out so far, or None if unknown."""
        return None

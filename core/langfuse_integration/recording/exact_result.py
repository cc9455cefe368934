"""The exact form of what a tool, a retriever or an embedding model of the application returned or raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .observation import Observation


class ExactResult:
    """Builds the exact form on the worker: `{"form": ..., "result": ...}`, or `{"form": ..., "error": ...}`.

    Where the row stands for a call of an MCP server as well, the form is that of the call, with the tool's name in it.

    Args:
        form: the name of the form.
        entries: further entries, in plain values; an error among them.
        write: makes a plain form of *result*; None leaves it out.
        result: what was returned, by reference.
    """

    __slots__ = ("_around", "_entries", "_form", "_name", "_result", "_write")

    def __init__(
        self,
        form: str,
        entries: dict[str, Any] | None = None,
        write: Callable[[Any], Any] | None = None,
        result: Any = None,
    ) -> None:
        self._form = form
        self._entries = entries or {}
        self._write = write
        self._result = result
        self._around: Callable[[], Any] | None = None
        self._name = ""

    def keep(self, observation: Observation, name: str) -> None:
        """Give the row this form; *name* is the tool's own."""
        before = observation.exact
        self._around = before._around if isinstance(before, ExactResult) else before
        self._name = name
        observation.exact = self

    def __call__(self) -> dict[str, Any]:
        """Return the form."""
        if self._around is not None:
            around: dict[str, Any] = self._around()
            return {**around, "tool": self._name}
        form: dict[str, Any] = {"form": self._form, **self._entries}
        return form if self._write is None else {**form, "result": self._write(self._result)}

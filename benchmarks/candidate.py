"""langfuse-integration for a harness with another interface: `make` returns a contender with the methods it calls."""

from __future__ import annotations

from typing import Any

from .contender import Terms
from .contenders.ours import Ours


class Candidate:
    """Forwards the harness's calls to `Ours`."""

    families = ("langchain", "llamaindex", "mcp", "core")

    def __init__(self) -> None:
        self._ours = Ours()

    def setup(self, setup: Any) -> None:
        """Take *setup*: a framework's family, "drop" or "http", and the address of a receiver."""
        framework: Any = "blocks" if setup.family == "core" else setup.family
        self._ours.begin(Terms(framework, "discard" if setup.export == "drop" else "http", setup.endpoint))
        self.wrap_mcp = self._ours.client
        self.session = self._ours.session
        self.flush = self._ours.deliver
        self.exported = self._ours.delivered

    def callbacks(self) -> list[Any] | None:
        """Return LangChain's callback handlers, or None."""
        return self._ours.callbacks or None

    def span(self, name: str, payload: Any) -> Any:
        """Return a block that is one observation, with a method `output`."""
        return _Span(self._ours.block(name, payload))


class _Span:
    __slots__ = ("_block", "_outcome")

    def __init__(self, block: Any) -> None:
        self._block = block

    def __enter__(self) -> _Span:
        self._outcome = self._block.__enter__()
        return self

    def output(self, value: Any) -> None:
        """Set what came of it."""
        self._outcome.update(output=value)

    def __exit__(self, *raised: Any) -> None:
        self._block.__exit__(*raised)


def make() -> Candidate:
    """Return the contender."""
    return Candidate()

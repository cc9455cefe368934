"""Tasks of a queue: each begins with no session, or continues the trace and the session of who sent it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from ..internals.faults import shielded
from ..propagation import Extracted, extract, inject
from ..recording import tracing
from ..sessions.blocks import Scope
from ..sessions.cells import Cell

HEADER = "langfuse_integration"
"""The entry of a message with the sender's W3C headers by name, as `propagation.inject` writes them."""

_SENDING = shielded("writing the session into a task's message")
_BEGINNING = shielded("reading the session out of a task's message")


def sender_header() -> dict[str, str] | None:
    """Return the headers that a message carries: the current trace and session, or None without either."""
    with _SENDING:
        return inject({}) or None
    return None


class Task:
    """A `with` block around one task, in a cell of its own.

    Args:
        header: the sender's headers; a value that is no mapping of text is ignored.
    """

    def __init__(self, header: object = None) -> None:
        self._cell = Cell.of_request()
        self._sender: Extracted | None = None
        self._scope: Scope | None = None
        if isinstance(header, Mapping):
            with _BEGINNING:
                texts = [(name, value) for name, value in header.items() if isinstance(value, str)]
                self._sender = extract([(name, value) for name, value in texts if isinstance(name, str)])
                if self._sender.session is not None:
                    self._cell.session, self._cell.is_set = self._sender.session, True

    def __enter__(self) -> Task:
        self._scope = tracing.store.visiting(self._cell)
        self._scope.__enter__()
        if self._sender is not None:
            self._sender.join()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sender is not None:
            self._sender.leave()
        if self._scope is not None:
            self._scope.__exit__(kind, error, trace)

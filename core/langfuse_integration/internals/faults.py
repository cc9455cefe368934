"""Shielding: our own faults are logged once per kind, and never raised into the application."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from . import forks

if TYPE_CHECKING:
    from logging import Logger

_SEEN_LIMIT = 256
"""Messages of one kind at most: a kind that has a text for each session or line must not silence the others."""
_seen: dict[str, set[str]] = {}
_lock = forks.Lock()
strict = False
"""Whether our own faults raise; our tests set it."""


class shielded:
    """A block of our own work that must never fail the application.

    Stateless, so that one instance serves all threads and nests. `BaseException`s that are no `Exception` pass.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        report(self._doing, error)
        return not strict


def fault(doing: str, error: Exception) -> None:
    """Treat a fault of ours as a `shielded` block does: for the hottest paths, where a `try` costs nothing."""
    report(doing, error)
    if strict:
        raise error


def report(doing: str, error: BaseException) -> None:
    """Log a fault of ours, once per kind of work and kind of error."""
    if _is_new("fault", f"{doing} {type(error).__name__}"):
        logger().warning("langfuse-integration failed while %s; tracing only is affected", doing, exc_info=error)


def warn_once(key: str, message: str, *values: object) -> None:
    """Log *message* as a warning the first time that *key* is met in this process.

    Args:
        key: its first word is the kind of the message: of each kind there are `_SEEN_LIMIT` messages at most.
    """
    if _is_new(key.partition(" ")[0], key):
        logger().warning(message, *values)


def _is_new(kind: str, key: str) -> bool:
    """Return whether *key* is met for the first time, and note it."""
    with _lock:
        seen = _seen.get(kind)
        if seen is None:
            if len(_seen) >= _SEEN_LIMIT:
                return False
            seen = _seen[kind] = set()
        if key in seen or len(seen) >= _SEEN_LIMIT:
            return False
        seen.add(key)
        return True


def forget() -> None:
    """Forget which messages were logged; for tests."""
    with _lock:
        _seen.clear()


def log_everything() -> None:
    """Log what is of level DEBUG, too; on standard error where the application has not set up `logging`."""
    import logging

    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    logger().setLevel(logging.DEBUG)


def logger() -> Logger:
    """Return the package's logger; `logging` is loaded only when there is something to say."""
    import logging

    return logging.getLogger("langfuse_integration")

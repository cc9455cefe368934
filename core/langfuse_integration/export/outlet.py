"""An outlet: where the worker puts finished observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..recording.score import Score


class Outlet:
    """The base of all outlets; by itself it discards everything.

    Called on the worker's thread only, except `flush`, `finish`, `outcome` and `reasons`.
    """

    def prepare(self) -> None:
        """Load everything that will be needed: no thread of ours imports later, when the process may be forked."""

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Take a batch: finished observations and foreign spans, open roots and agents of both kinds, scores."""

    def idle(self) -> float | None:
        """Tidy up while there is nothing to do; return in how many seconds to be called again, or None."""
        return None

    def ending(self) -> None:
        """End what is still open: the process ends. Called once, before `finish`."""

    def flush(self, deadline: float) -> None:
        """Deliver until *deadline* (on time.monotonic's clock) at most."""

    def finish(self, deadline: float) -> None:
        """Flush at the end of the process; stop early if retrying cannot help."""
        self.flush(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of what was taken so far; what is neither first nor last is pending."""
        return 0, 0, 0

    def handed_over(self) -> int:
        """Return how many were given to an exporter that is not ours, which does not say what became of them."""
        return 0

    def reasons(self) -> Mapping[str, int]:
        """Return how many were lost, by reason."""
        return {}

    def stop(self) -> None:
        """Release everything; what is pending stays where it is."""

    def forked(self) -> None:
        """Let go of what belongs to the parent process."""

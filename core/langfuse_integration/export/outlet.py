"""An outlet: where the worker puts finished observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..recording.score import Score
from .counters import DestinationCounts


class Outlet:
    """The base of all outlets; by itself it discards everything.

    Called on the worker's thread only, except `flush`, `finish`, `outcome`, `fails` and `reasons`.

    Attributes:
        mask: the mask that a Langfuse client was given, where the outlet goes through one.
    """

    mask: Callable[..., Any] | None = None

    def prepare(self) -> None:
        """Load all modules that are needed, since an import on our thread could collide with a fork later."""

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Take a batch: finished observations and foreign spans, open roots and agents of both kinds, scores."""

    def accompany(self, spans: Sequence[Any]) -> None:
        """Take spans of other libraries that Langfuse does not take: for other destinations."""

    def idle(self) -> float | None:
        """Do periodic work while idle; return the seconds until the next call, or None."""
        return None

    def ending(self) -> None:
        """End open observations, since the process ends. Called once, before `finish`."""

    def flush(self, deadline: float) -> None:
        """Deliver until *deadline* (on time.monotonic's clock) at most."""

    def finish(self, deadline: float) -> None:
        """Flush at the end of the process; stop early if retrying cannot help."""
        self.flush(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of all observations taken so far."""
        return 0, 0, 0

    def handed_over(self) -> int:
        """Return how many observations were given to a foreign exporter, which does not report their delivery."""
        return 0

    def fails(self) -> bool:
        """Return whether the last attempt to deliver to Langfuse failed, so that observations wait for another one."""
        return False

    def reasons(self) -> Mapping[str, int]:
        """Return the number of lost observations by reason."""
        return {}

    def destinations(self) -> Sequence[DestinationCounts]:
        """Return the counts of each destination beside Langfuse."""
        return ()

    def stop(self) -> None:
        """Release all resources; pending observations stay where they are."""

    def unwritten(self) -> int:
        """Return how many observations only the memory of this process has, after a failure of the journal."""
        return 0

    def say_lost(self) -> None:
        """Warn of what is lost because the process ends now."""

    def forked(self) -> None:
        """Release resources of the parent process, in a forked child."""

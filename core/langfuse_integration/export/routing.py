"""The outlet that routes each batch to the journal, or to a Langfuse client that the application customised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..recording.score import Score
from ..settings import Settings
from .counters import DestinationCounts
from .journal_outlet import JournalOutlet
from .outlet import Outlet

if TYPE_CHECKING:
    from .forward_outlet import ForwardOutlet

FindClientOutlet = Callable[[], Outlet | None]
"""Return the outlet of the current customised client, the same object for the same client; else None."""


class RoutingOutlet(Outlet):
    """Uses the customised client as soon as there is one, and the journal otherwise.

    Args:
        find_client_outlet: asked before each batch.
        current_settings: returns the settings in force; when they have changed, further batches go by those.
    """

    def __init__(
        self,
        settings: Settings,
        find_client_outlet: FindClientOutlet,
        current_settings: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._current_settings = current_settings or (lambda: settings)
        self._find_client_outlet = find_client_outlet
        self._journal: JournalOutlet | None = None
        self._client: Outlet | None = None
        self._beside: ForwardOutlet | None = None  # of the client: for other destinations
        self._has_destinations = bool(settings.all_destinations)
        self._previous: list[
            Outlet
        ] = []  # outlets of earlier clients and settings: for their counts, and what they still deliver

    def prepare(self) -> None:
        """Load all modules that are needed."""
        self._current().prepare()

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        """Pass a batch to its outlet."""
        outlet = self._current()
        outlet.take(finished, opened, scores)
        if self._has_destinations and outlet is self._client:
            self._beside_client(outlet).take(finished, (), ())

    def accompany(self, spans: Sequence[Any]) -> None:
        """Pass spans that Langfuse does not take to the outlet."""
        outlet = self._current()
        if self._has_destinations and outlet is self._client:
            outlet = self._beside_client(outlet)
        outlet.accompany(spans)

    def idle(self) -> float | None:
        """Do periodic work; return the seconds until the next call, or None."""
        if self._beside is None:
            return self._journal.idle() if self._journal is not None else None
        pauses = [outlet.idle() for outlet in (self._journal, self._beside) if outlet is not None]
        return min((pause_s for pause_s in pauses if pause_s is not None), default=None)

    def ending(self) -> None:
        """End open observations."""
        for outlet in self._outlets():
            outlet.ending()

    def flush(self, deadline: float) -> None:
        """Deliver until *deadline* at most."""
        for outlet in self._outlets():
            outlet.flush(deadline)

    def finish(self, deadline: float) -> None:
        """Flush at the end of the process."""
        for outlet in self._outlets():
            outlet.finish(deadline)

    def outcome(self) -> tuple[int, int, int]:
        """Return (delivered, pending, lost) of all outlets."""
        outcomes = [outlet.outcome() for outlet in self._outlets()]
        delivered, pending, lost = (sum(counts) for counts in zip((0, 0, 0), *outcomes, strict=True))
        return delivered, pending, lost

    def handed_over(self) -> int:
        """Return how many observations went to customised clients."""
        return sum(outlet.handed_over() for outlet in self._outlets())

    def fails(self) -> bool:
        """Return whether one of the outlets fails."""
        return any(outlet.fails() for outlet in self._outlets())

    def reasons(self) -> Mapping[str, int]:
        """Return the number of lost observations by reason."""
        counts: Counter[str] = Counter()
        for outlet in self._outlets():
            counts.update(outlet.reasons())
        return counts

    def destinations(self) -> Sequence[DestinationCounts]:
        """Return the counts of each destination beside Langfuse."""
        journals = [outlet for outlet in (self._journal, self._beside) if outlet is not None]
        return [counts for outlet in journals for counts in outlet.destinations()]

    def stop(self) -> None:
        """Release all resources."""
        for outlet in self._outlets():
            outlet.stop()

    def unwritten(self) -> int:
        """Return how many observations only the memory of this process has."""
        return sum(outlet.unwritten() for outlet in self._outlets())

    def say_lost(self) -> None:
        """Warn of what is lost because the process ends now."""
        for outlet in self._outlets():
            outlet.say_lost()

    def forked(self) -> None:
        """Release resources of the parent process, in a forked child."""
        for outlet in self._outlets():
            outlet.forked()

    def _outlets(self) -> list[Outlet]:
        return [outlet for outlet in (self._journal, self._client, self._beside, *self._previous) if outlet is not None]

    def _current(self) -> Outlet:
        client = self._find_client_outlet()
        if client is not self._client:
            if self._client is not None:
                self._previous.append(self._client)
            if client in self._previous:
                self._previous.remove(client)
            self._client = client
        active = self._current_settings()
        if active is not self._settings:
            self._settings = active
            self._has_destinations = bool(active.all_destinations)
            self._previous += [outlet for outlet in (self._journal, self._beside) if outlet is not None]
            self._journal = self._beside = None
        if client is not None:
            return client
        if self._journal is None:
            self._journal = JournalOutlet.from_settings(self._settings)
        return self._journal

    def _beside_client(self, client: Outlet) -> ForwardOutlet:
        """Return the outlet for other destinations beside a customised client."""
        if self._beside is None:
            from .forward_outlet import ForwardOutlet

            self._beside = ForwardOutlet.beside_client(self._settings, client.mask)
        return self._beside

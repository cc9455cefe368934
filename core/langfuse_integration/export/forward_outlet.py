"""The outlet for destinations only, beside a Langfuse client that the application customised: rows go there, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from typing_extensions import override

from ..encoding.row import Encoder
from ..journal.backend import WriteBatch
from ..settings import Settings
from .journal_outlet import JournalOutlet


class ForwardOutlet(JournalOutlet):
    """Writes rows into the journal as ones that Langfuse has: they leave it when every destination has them.

    What Langfuse gets is counted by the client's outlet.
    """

    @classmethod
    def beside_client(cls, settings: Settings, mask: Callable[..., Any] | None) -> ForwardOutlet:
        """Return a started outlet.

        Args:
            mask: the client's mask, used when the settings have none.
        """
        replayable = bool(settings.replayable)
        local = replace(settings, public_key=None, secret_key=None, media_upload=False, replayable=replayable)
        outlet = cls(local, Encoder.from_settings(local, mask))
        outlet.start()
        return outlet

    @override
    def _store(self, written: WriteBatch) -> None:
        super()._store(written)
        self._storage.hand_over()

    @override
    def outcome(self) -> tuple[int, int, int]:
        return 0, 0, 0

    @override
    def reasons(self) -> Mapping[str, int]:
        return {}

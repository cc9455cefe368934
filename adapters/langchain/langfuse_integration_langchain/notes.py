"""Which of LangChain's metadata and tags are worth a row's metadata: what the application gave, and where it stands.

Noted when the run starts, and sorted out when the row is built.
"""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run

from .private import PLUMBING_METADATA, PLUMBING_TAGS, TELLING_METADATA
from .states import NOTHING


class Notes:
    """What a run has of its own; what it inherited stands on the runs above."""

    __slots__ = ("inherited", "known", "metadata", "tags")

    def __init__(self, metadata: dict[str, Any], tags: list[str] | None, parent: Run | None) -> None:
        self.metadata = metadata
        self.tags = tags
        if parent is None:
            self.inherited: dict[str, Any] = NOTHING
            self.known: list[str] | None = None
        else:
            self.inherited = parent.state.metadata
            self.known = parent.state.tags

    def __call__(self, observation: Observation) -> None:
        """Put them before what else is in the metadata."""
        found = {
            key: value
            for key, value in self.metadata.items()
            if key not in self.inherited and (key in TELLING_METADATA or not key.startswith(PLUMBING_METADATA))
        }
        known = self.known or ()
        own = [tag for tag in self.tags or () if tag not in known and not tag.startswith(PLUMBING_TAGS)]
        if own:
            found["tags"] = own
        if found:
            observation.metadata = {**found, **(observation.metadata or {})}

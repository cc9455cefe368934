"""Metadata and tags of a run for its row: the application's own, and the run's place in the graph.

Kept when the run starts, and filtered when the row is built.
"""

from __future__ import annotations

from typing import Any

from langfuse_integration.internals.secrets import without_secrets
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run

from .private import PLACE_METADATA, PLUMBING_METADATA, PLUMBING_TAGS, TELLING_METADATA

NOTHING: dict[str, Any] = {}
"""Metadata of a run that has none."""


class RunNotes:
    """A run's own metadata and tags; those that it inherited stand on the rows above.

    LangGraph's node and step stand on each row or on none: once one row has them, Langfuse's agent graph draws only
    such rows. Below an agent that LangChain made, whose nodes are no rows, the names of the rows say more.
    """

    __slots__ = ("inherited", "inherited_tags", "metadata", "placed", "tags")

    def __init__(self, metadata: dict[str, Any], tags: list[str] | None, parent: Run | None) -> None:
        self.metadata = metadata
        self.tags = tags
        if parent is None:
            self.inherited: dict[str, Any] = NOTHING
            self.inherited_tags: list[str] | None = None
            self.placed = True
        else:
            self.placed = parent.state.placed
            self.inherited = parent.state.metadata
            self.inherited_tags = parent.state.tags

    def __call__(self, observation: Observation) -> None:
        """Put the notes before the metadata that *observation* has."""
        entries = {
            key: value
            for key, value in self.metadata.items()
            if (self.placed and key in PLACE_METADATA)
            or (key not in self.inherited and (key in TELLING_METADATA or not key.startswith(PLUMBING_METADATA)))
        }
        inherited_tags = self.inherited_tags or ()
        own = [tag for tag in self.tags or () if tag not in inherited_tags and not tag.startswith(PLUMBING_TAGS)]
        if own:
            entries["tags"] = own
        if entries:
            observation.metadata = {**without_secrets(entries), **(observation.metadata or {})}

"""Metadata and tags of a run for its row: the application's own, and the run's place in the graph.

Kept when the run starts, and filtered when the row is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from langfuse_integration.internals.secrets import without_secrets
from langfuse_integration.recording.observation import Observation

from .private import PLACE_METADATA, PLUMBING_METADATA, PLUMBING_TAGS, TELLING_METADATA

NOTHING: dict[str, Any] = {}
"""Metadata of a run that has none."""


Notes = Callable[[Observation], None]


class Announced(Protocol):
    """The state of a run, as far as it tells what the runs below inherit.

    Attributes:
        metadata, tags: as LangChain passed them.
        placed: whether LangGraph's node and step stand on the rows below.
    """

    metadata: dict[str, Any]
    tags: list[str] | None
    placed: bool


def notes_of(metadata: dict[str, Any], tags: list[str] | None, above: Announced | None) -> Notes:
    """Return what puts a run's own metadata and tags into its row; *above* is the state of the run above.

    The hottest places make it without this call.
    """
    return partial(note, metadata, tags, above)


def note(metadata: dict[str, Any], tags: list[str] | None, above: Announced | None, observation: Observation) -> None:
    """Put a run's metadata and tags before the metadata that *observation* has; what it inherited stands on rows above.

    LangGraph's node and step stand on each row or on none: once one row has them, Langfuse's agent graph draws only
    such rows. Below an agent that LangChain made, whose nodes are no rows, the names of the rows say more.
    """
    inherited = NOTHING if above is None else above.metadata
    inherited_tags = () if above is None else above.tags or ()
    placed = above is None or above.placed
    entries = {
        key: value
        for key, value in metadata.items()
        if (placed and key in PLACE_METADATA)
        or (key not in inherited and (key in TELLING_METADATA or not key.startswith(PLUMBING_METADATA)))
    }
    own = [tag for tag in tags or () if tag not in inherited_tags and not tag.startswith(PLUMBING_TAGS)]
    if own:
        entries["tags"] = own
    if entries:
        observation.metadata = {**without_secrets(entries), **(observation.metadata or {})}

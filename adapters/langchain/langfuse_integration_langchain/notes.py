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


class Nobody:
    """What stands above a root run: nothing is inherited."""

    metadata = NOTHING
    tags: list[str] | None = None
    placed = True


NOBODY: Announced = Nobody()


def notes_of(metadata: dict[str, Any], tags: list[str] | None, above: Announced) -> Notes:
    """Return what puts a run's own metadata and tags into its row; *above* is the state of the run above, or `NOBODY`.

    The hottest places make it without this call. It holds no state: a row that waits would keep the inputs of all runs
    above, also where rows are too many, and let go of their own.
    """
    return partial(note, metadata, tags, above.metadata, above.tags, above.placed)


def note(
    metadata: dict[str, Any],
    tags: list[str] | None,
    inherited: dict[str, Any],
    inherited_tags: list[str] | None,
    placed: bool,
    observation: Observation,
) -> None:
    """Put a run's metadata and tags before the metadata that *observation* has; what it inherited stands on rows above.

    LangGraph's node and step stand on each row or on none: once one row has them, Langfuse's agent graph draws only
    such rows. Below an agent that LangChain made, whose nodes are no rows, the names of the rows say more.
    """
    entries = {
        key: value
        for key, value in metadata.items()
        if (placed and key in PLACE_METADATA)
        or (key not in inherited and (key in TELLING_METADATA or not key.startswith(PLUMBING_METADATA)))
    }
    known = inherited_tags or ()
    own = [tag for tag in tags or () if tag not in known and not tag.startswith(PLUMBING_TAGS)]
    if own:
        entries["tags"] = own
    if entries:
        observation.metadata = {**without_secrets(entries), **(observation.metadata or {})}

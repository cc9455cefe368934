"""Which of LangChain's metadata and tags are worth a row's metadata: what the application gave, and where it stands."""

from __future__ import annotations

from typing import Any

from langfuse_integration.registry import Run

from .private import PLUMBING_METADATA, PLUMBING_TAGS, TELLING_METADATA
from .states import NOTHING


def notes(metadata: dict[str, Any], tags: list[str] | None, parent: Run | None) -> dict[str, Any] | None:
    """Return what a run has of its own; what it inherited stands on the runs above."""
    inherited: dict[str, Any] = parent.state.metadata if parent is not None else NOTHING
    found: dict[str, Any] | None = None
    if metadata and metadata is not inherited:
        fresh = metadata.keys() - inherited.keys()
        if fresh:
            found = {
                key: metadata[key] for key in fresh if key in TELLING_METADATA or not key.startswith(PLUMBING_METADATA)
            }
    if tags:
        known = parent.state.tags if parent is not None else None
        own = [tag for tag in tags if not tag.startswith(PLUMBING_TAGS) and not (known and tag in known)]
        if own:
            found = found or {}
            found["tags"] = own
    return found or None

"""Observations for the tests of delivery."""

from __future__ import annotations

from langfuse_integration import langfuse_manager


def record(*names: str) -> list[str]:
    """Record one observation of each name; return their ids."""
    ids: list[str] = []
    for name in names:
        with langfuse_manager.trace_span(name, input=f"input of {name}") as span:
            ids.append(span.id)
    return ids

"""Finding a text in what was recorded."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from .replay import Observed

_NOT_SEARCHED = frozenset(
    {"langfuse.observation.type", "langfuse.observation.level", "langfuse.observation.metadata.step_type"}
)


def holds(found: Observed, text: str) -> bool:
    """Return whether *text* occurs in what people see of an observation, in upper or lower case."""
    wanted = text.casefold()
    escaped = orjson.dumps(wanted)[1:-1].decode()
    return any(wanted in part or escaped in part for part in (part.casefold() for part in _texts(found)))


def _texts(found: Observed) -> Iterator[str]:
    yield from (found.name, found.id, found.trace_id)
    for key, value in found.attributes.items():
        if isinstance(value, str) and key not in _NOT_SEARCHED:
            yield value

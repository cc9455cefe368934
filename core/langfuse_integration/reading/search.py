"""Text search in recorded observations."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from ..encoding.otlp import EXACT
from .replay import Observed

_NOT_SEARCHED = frozenset(
    {"langfuse.observation.type", "langfuse.observation.level", "langfuse.observation.metadata.step_type", EXACT}
)


def holds(observation: Observed, text: str) -> bool:
    """Return whether *text* occurs in what people see of an observation, in upper or lower case."""
    folded = text.casefold()
    escaped = orjson.dumps(folded)[1:-1].decode()
    return any(folded in part or escaped in part for part in (part.casefold() for part in _texts(observation)))


def _texts(observation: Observed) -> Iterator[str]:
    yield from (observation.name, observation.id, observation.trace_id)
    for key, value in observation.attributes.items():
        if isinstance(value, str) and key not in _NOT_SEARCHED:
            yield value

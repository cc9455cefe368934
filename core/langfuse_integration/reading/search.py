"""Text search in recorded observations."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from ..encoding.otlp import EXACT
from .replay import Observed

_NOT_SEARCHED = frozenset(
    {"langfuse.observation.type", "langfuse.observation.level", "langfuse.observation.metadata.step_type", EXACT}
)


_FOLDED = (0xDF, 0x130, 0x149, 0x17F, 0x1F0, *range(0x1E96, 0x1E9B), 0x1E9E, 0x212A, *range(0xFB00, 0xFB07))
_FOLDED_TO_ASCII = re.compile(b"|".join(chr(code).encode() for code in _FOLDED))
"""Letters outside of ASCII whose case folding has ASCII letters, such as the German sharp s."""
_ASCII = bytes(range(128))
_HEX = frozenset("0123456789abcdef")


def may_hold(body: bytes, text: str) -> bool:
    """Return False where *text* certainly does not occur in an observation: without decoding it.

    Args:
        body: the observation as an OTLP request.
    """
    folded = text.casefold()
    if not folded.isascii():
        return True
    lowered = body.lower()
    if folded.encode() in lowered or orjson.dumps(folded)[1:-1] in lowered:
        return True
    if _HEX.issuperset(folded) and folded in body.hex():  # ids are text for people
        return True
    return _FOLDED_TO_ASCII.search(body.translate(None, _ASCII)) is not None


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

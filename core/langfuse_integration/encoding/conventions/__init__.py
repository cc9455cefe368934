"""Conventions: attributes that other servers read, made from a row when it is sent there.

Each module has a list of readers, one for each aspect. To add an attribute, write a reader and list it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import genai, mcp, openinference
from .reading import Reader, TranslatedRow

READERS: Mapping[str, tuple[Reader, ...]] = {
    "genai": (*genai.READERS, *mcp.READERS),
    "openinference": openinference.READERS,
}
"""The readers of each convention."""


def attributes_of(row: TranslatedRow, conventions: Iterable[str]) -> dict[str, Any]:
    """Return the attributes that *conventions* name for a row; those that it has already are not among them."""
    pairs = (pair for name in conventions for read in READERS[name] for pair in read(row))
    return {key: value for key, value in pairs if value is not None and key not in row.attributes}

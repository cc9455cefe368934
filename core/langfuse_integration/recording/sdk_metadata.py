"""Metadata in the form of Langfuse's SDK 5, which writes text as JSON, in quotes; rows of ours have text as it is."""

from __future__ import annotations


def plain_text(text: str) -> str:
    """Return a metadata value with quoted text unquoted; other values stay."""
    if text[:1] != '"':
        return text
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text

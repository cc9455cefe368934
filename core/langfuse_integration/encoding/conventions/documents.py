"""The question of a retrieval, and the documents that it brought, in whatever form a framework gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from .reading import TranslatedRow


def query_of(row: TranslatedRow) -> str | None:
    """Return the question of a retrieval, or None where it is not captured."""
    content = row.content_in
    if isinstance(content, Mapping):
        entry = cast("Mapping[str, Any]", content)
        query = next((entry[key] for key in ("query", "query_str", "question", "text") if entry.get(key)), None)
        return query if isinstance(query, str) else row.input_text
    return content if isinstance(content, str) else row.input_text


def documents_of(row: TranslatedRow) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the documents that a retrieval brought, with their places."""
    content = row.content_out
    if isinstance(content, Mapping):
        entry = cast("Mapping[str, Any]", content)
        content = next((entry[key] for key in ("documents", "nodes", "results") if entry.get(key)), None)
    documents: list[Any] = content if isinstance(content, list) else []
    return [(place, document) for place, document in enumerate(documents) if isinstance(document, Mapping)]

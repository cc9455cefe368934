"""Content blocks of messages: texts, thoughts and media, as data URIs that the encoding uploads and replaces."""

from __future__ import annotations

from typing import Any

MEDIA = frozenset(("image", "audio", "video", "document"))
NESTING = frozenset(("citable", "citation"))
"""Types of blocks that hold other blocks."""


def plain(block: Any) -> dict[str, Any]:
    """Return a block as plain values, without what is None."""
    kind = getattr(block, "block_type", type(block).__name__)
    if kind == "text":
        return {"type": "text", "text": block.text}
    if kind == "thinking":
        return {"type": "thinking", "thinking": block.content or ""}
    if kind in MEDIA:
        return _medium(kind, block)
    fields = getattr(type(block), "model_fields", {})
    values = {name: getattr(block, name, None) for name in fields if name != "block_type"}
    return {"type": kind, **{name: value for name, value in values.items() if value is not None}}


def fields(block: Any) -> Any:
    """Return the fields of a block, by reference, with those of the blocks in it."""
    values: dict[str, Any] = getattr(block, "__dict__", {"": block})
    if values.get("block_type") not in NESTING:
        return values
    return {
        name: list(map(fields, value)) if isinstance(value, list) else fields(value) for name, value in values.items()
    }


def _medium(kind: str, block: Any) -> dict[str, Any]:
    """Return a medium with its address; bytes that the block has itself become a data URI."""
    entries: dict[str, Any] = {"type": kind}
    for name in ("url", "path", "title"):
        value = getattr(block, name, None)
        if value is not None:
            entries[name] = str(value)
    content_type = _content_type(kind, block)
    if content_type:
        entries["mime_type"] = content_type
    data = getattr(block, "data", None) if kind == "document" else getattr(block, kind, None)
    if isinstance(data, (bytes, bytearray)):  # LlamaIndex keeps them as base64
        text = data.decode("ascii", "replace")
        entries["url"] = f"data:{content_type or 'application/octet-stream'};base64,{text}"
    return entries


def _content_type(kind: str, block: Any) -> str | None:
    content_type = getattr(block, f"{kind}_mimetype", None) or getattr(block, "format", None)
    if not content_type:
        return None
    return str(content_type) if "/" in content_type else f"{kind}/{content_type}"

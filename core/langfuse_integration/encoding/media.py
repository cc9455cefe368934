"""Images, sounds and files in payloads: replaced in the text by a reference that Langfuse resolves.

The reference, the id (the SHA-256 in URL-safe base64, 22 characters) and the forms that are recognised are those of the
Langfuse Python SDK 5.0: data URIs anywhere in a text, and the blocks in which Anthropic, OpenAI, Google and LangChain
put base64 without a data URI around it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

LEAST_BYTES = 16
"""Minimum length of base64 that is taken for a medium; shorter text is usually an example."""
MOST_BYTES = 48 * 1024 * 1024
_URI = re.compile(r"data:([a-zA-Z0-9]+/[a-zA-Z0-9.+_-]+)(?:;[a-zA-Z0-9=._-]+)*;base64,([A-Za-z0-9+/_-]+={0,2})")
_BLOCKS = re.compile(r'"(?:media_type|mime_type|mimeType|input_audio|inline_data|inlineData)"')
_URL_SAFE = str.maketrans("-_", "+/")
_AUDIO = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm16": "audio/wav"}
_FIELDS = ("input", "output")


class Media(NamedTuple):
    """One medium in one field (`input`, `output` or `metadata`) of one observation."""

    id: str
    content_type: str
    sha256: str
    body: bytes
    trace_id: str = ""
    span_id: str = ""
    field: str = ""


class MediaSieve:
    """Replaces media in texts by references, and collects the media. For one thread.

    Attributes:
        collected: media that were not taken yet, by id.
    """

    def __init__(self) -> None:
        self.collected: dict[str, Media] = {}

    def sift(self, text: str) -> str:
        """Return *text* with each medium replaced by a reference."""
        if ";base64," in text:
            text = _URI.sub(self._uri, text)
        if _BLOCKS.search(text):
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                return text
            sifted = self._blocks(value)
            if sifted != value:
                return orjson.dumps(sifted).decode()
        return text

    def taken(self, attributes: Mapping[str, Any], trace_id: str, span_id: str) -> list[Media]:
        """Return the collected media of one observation, found by the references in its attributes, and forget them."""
        if not self.collected:
            return []
        collected, self.collected = self.collected, {}
        uses: dict[tuple[str, str], Media] = {}
        for key, value in attributes.items():
            if isinstance(value, str) and "@@@langfuseMedia:" in value:
                field = _field(key)
                for medium in collected.values():
                    if f"|id={medium.id}|" in value:
                        uses[medium.id, field] = medium._replace(trace_id=trace_id, span_id=span_id, field=field)
        return list(uses.values())

    def _uri(self, match: re.Match[str]) -> str:
        return self._reference(match[1], match[2], "base64_data_uri") or match[0]

    def _reference(self, content_type: str, text: str, source: str) -> str | None:
        if not LEAST_BYTES <= len(text) <= MOST_BYTES:
            return None
        try:
            body = base64.b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        medium = Media(sha256.translate(str.maketrans("+/", "-_"))[:22], content_type, sha256, body)
        self.collected[medium.id] = medium
        return f"@@@langfuseMedia:type={content_type}|id={medium.id}|source={source}@@@"

    def _blocks(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._blocks(item) for item in value]
        if not isinstance(value, dict):
            return value
        plain = {key: self._blocks(item) for key, item in value.items()}
        for key, content_type in _base64_in(plain):
            text = plain[key]
            if isinstance(text, str) and not text.startswith("@@@"):
                plain[key] = self._reference(content_type, text, "base64_data_uri") or text
        return plain


def _base64_in(block: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (key, content type) where *block* holds base64.

    Anthropic's source and Google's inline data: {"data", "media_type" or "mime_type"}; LangChain 1: {"base64",
    "mime_type"}; OpenAI's input_audio: {"data", "format"}.
    """
    content_type = block.get("media_type") or block.get("mime_type") or block.get("mimeType")
    if isinstance(content_type, str) and "/" in content_type and not content_type.startswith("text/"):
        return [(key, content_type) for key in ("data", "base64") if key in block]
    if "data" in block and block.get("format") in _AUDIO:
        return [("data", _AUDIO[block["format"]])]
    return []


def _field(key: str) -> str:
    last = key.rpartition(".")[2]
    return last if key.startswith("langfuse.observation.") and last in _FIELDS else "metadata"

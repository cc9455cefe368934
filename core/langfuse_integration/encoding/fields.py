"""One value on its way into a row: captured or not, masked, cut, written as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ..internals.faults import warn_once
from .json_text import plain, to_json

TRUNCATED_BYTES = 2 * 1024
MEDIA_BYTES = 64 * 1024 * 1024
"""Where a value is cut before media are taken out of it."""
NOT_CAPTURED = "[not captured]"
MASK_FAILED = "[masked: the mask function failed]"
KEY_REMOVED = "[a Langfuse key was here]"

_PAYLOAD = re.compile(
    r"langfuse\.(observation|trace)\.(input|output)$"
    r"|gen_ai\.(prompt|completion|input\.messages|output\.messages|system_instructions|content|tool\.(call\.(arguments|result)|definitions))"
    r"|(input|output)\.value$|llm\.(input_messages|output_messages|prompts|completions|prompt_template|function_call)"
    r"|(tool|retrieval|embedding|reranker|message|document)\..*(content|arguments|text|documents|vector)"
    r"|traceloop\.entity\.(input|output)|mcp\.(request|response)"
)
"""Attributes of other libraries that hold what was said: Langfuse's, OpenTelemetry's, OpenInference's, Traceloop's."""
_TEXT = re.compile(
    r"langfuse\.(observation|trace)\.(metadata\.|status_message)|exception\.(message|stacktrace)$|metadata$"
)
"""Further ones that are masked, but no payload."""


class Fields:
    """Writes single values by the settings.

    Args:
        capture: `full`, `truncated` or `none`.
        max_bytes: where a value is cut under `full`.
        mask: called as mask(data=value), as the Langfuse SDK does, with plain values: a framework's messages are dicts
            by then, so that a function that walks through containers finds their text. When it raises, the value
            becomes a marker.
        media: takes media out of a text and returns it with references in their place; not under other than `full`.
        keys: texts that never appear.
    """

    def __init__(
        self,
        capture: str = "full",
        max_bytes: int = 1024 * 1024,
        mask: Callable[..., Any] | None = None,
        media: Callable[[str], str] | None = None,
        keys: Iterable[str | None] = (),
    ) -> None:
        self._captured = capture != "none"
        self._max_bytes = min(max_bytes, TRUNCATED_BYTES) if capture == "truncated" else max_bytes
        self._mask = mask
        self._media = media if capture == "full" else None
        self._keys = tuple(key for key in keys if key)

    def text(self, value: Any) -> str:
        """Return *value* as the text that is sent."""
        if self._mask is not None:
            value = self._masked(value)
        media = self._media
        if media is None:
            text = to_json(value, self._max_bytes)
        else:
            text = to_json(value, max(MEDIA_BYTES, self._max_bytes))
            if "base64" in text or '"data"' in text:
                text = media(text)
            if len(text) > self._max_bytes:
                text = self._cut(value, text)
        for key in self._keys:
            if key in text:
                text = text.replace(key, KEY_REMOVED)
        return text

    def payload(self, value: Any) -> str:
        """Return an input or output as the text that is sent."""
        return self.text(value) if self._captured else NOT_CAPTURED

    def raw(self, key: str, value: Any) -> Any:
        """Return an attribute that somebody else set: payloads are masked, the rest stays."""
        if isinstance(value, str):
            if _PAYLOAD.match(key):
                return self.payload(value)
            if _TEXT.match(key) or any(known in value for known in self._keys):
                return self.text(value)
        elif isinstance(value, (list, tuple)) and _PAYLOAD.match(key):
            return [self.payload(item) if isinstance(item, str) else item for item in value]
        return value

    def _masked(self, value: Any) -> Any:
        if self._mask is None:
            return value
        try:
            return self._mask(data=plain(value))
        except Exception as error:  # noqa: BLE001  a stranger's fault; what it says may hold what was to be hidden
            kind = type(error).__name__
            warn_once(f"mask {kind}", "The mask function raised %s: what it was given is replaced by a marker", kind)
            return MASK_FAILED

    def _cut(self, value: Any, text: str) -> str:
        if isinstance(value, str):
            return to_json(text, self._max_bytes)
        import orjson

        try:  # the text may hold references to media where the value holds them themselves
            return to_json(orjson.loads(text), self._max_bytes)
        except orjson.JSONDecodeError:
            return to_json(text, self._max_bytes)

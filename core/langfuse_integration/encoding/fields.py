"""Fields of a row: applies capture, mask and size limit to single values and writes them as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..internals.faults import warn_once
from .content import ContentKind, failure_of, kind_of
from .json_text import plain, to_json
from .shared_text import Rope
from .sharing import SharedJson

Capture = Literal["full", "truncated", "none", "metrics"]
TRUNCATED_BYTES = 2 * 1024
MEDIA_BYTES = 64 * 1024 * 1024
"""The size limit of a value from which media are still to be extracted."""
EXACT_BYTES = 8 * 1024 * 1024
"""The size limit of the exact form of an answer: half of one is of no use."""
MARKED_BYTES = 1024
NOT_CAPTURED = "[not captured]"
MASK_FAILED = "[masked: the mask function failed]"
KEY_REMOVED = "[a Langfuse key was here]"
KEY_PREFIXES = ("pk-lf-", "sk-lf-")
LEAST_KEY = 16
"""Minimum length of a key without Langfuse's prefix: a self-hosted project may use ordinary words as keys."""


class Fields:
    """Converts single values to text as the settings require.

    Methods return None for a value that is left out.

    Args:
        capture: `full`; `truncated`, 2 KiB of each text; `none`, no content; `metrics`, neither content nor names.
        max_bytes: size limit of a value under `full`.
        mask: called as mask(data=value), as the Langfuse SDK does, with plain values: a framework's messages are dicts
            by then, so that a function that walks through containers finds their text. When it raises, the value
            becomes a marker.
        media: replaces media in a text by references; used under `full` only.
        keys: API keys to remove from every text, if they are long enough to be keys.
        mask_names: whether the mask also gets names and tags.

    Attributes:
        as_it_is: whether values are neither masked nor left out.
        is_full: whether everything is captured, under `full`.
        shares: whether payloads with long histories are returned as ropes, which share text with each other.
    """

    def __init__(
        self,
        capture: str = "full",
        max_bytes: int = 1024 * 1024,
        mask: Callable[..., Any] | None = None,
        media: Callable[[str], str] | None = None,
        keys: Iterable[str | None] = (),
        *,
        mask_names: bool = False,
    ) -> None:
        self._content = capture in ("full", "truncated")
        self._names = capture != "metrics"
        self._max_bytes = min(max_bytes, TRUNCATED_BYTES) if capture == "truncated" else max_bytes
        self._mask = mask
        self._media = media if capture == "full" else None
        self._keys = tuple(key for key in keys if key and (len(key) >= LEAST_KEY or key.startswith(KEY_PREFIXES)))
        self._mask_names = mask_names and mask is not None
        self.as_it_is = self._content and mask is None
        self.is_full = capture == "full"
        self.shares = False
        self._check = self._is_plain

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of another library's span as they are sent."""
        return {key: kept for key, value in attributes.items() if (kept := self.raw(key, value)) is not None}

    # -- one method for each kind of value

    def payload(self, value: Any) -> str | Rope | None:
        """Return a payload (an input, an output) as the text that is sent."""
        if self._content:
            shares = self.shares and self._mask is None and not isinstance(value, str)
            return self._shared(value) if shares else self.text(value)
        return NOT_CAPTURED if self._names else None

    def metadata(self, key: str, value: Any) -> str | None:
        """Return the value of a metadata attribute; when content is not captured, only labels and booleans stay."""
        if self._content or (self._names and (isinstance(value, bool) or kind_of(key) is ContentKind.LABEL)):
            return self.text(value)
        return NOT_CAPTURED if self._names else None

    def value(self, value: Any) -> Any:
        """Return a value that Langfuse takes as it is, in dicts, lists, text and numbers: metadata of a score."""
        payload = self.payload(value)
        text = bytes(payload).decode() if isinstance(payload, Rope) else payload
        if isinstance(value, str) or text is None:
            return text
        import orjson

        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:  # it was cut, or a mask made text of it
            return text

    def message(self, text: str) -> str | None:
        """Return a status message; when content is not captured, only the error's class."""
        if self._content:
            return self.text(text)
        return failure_of(text) or NOT_CAPTURED if self._names else None

    def name(self, text: str, otherwise: str | None = None) -> str | None:
        """Return a name or a tag; *otherwise* when names are not captured."""
        if not self._names:
            return otherwise
        return self.text(text) if self._mask_names else self._without_keys(text)

    def parameters(self, values: Any) -> str | None:
        """Return the parameters of a model; when content is not captured, only numbers and booleans."""
        if not self._names:
            return None
        if not self._content:
            values = {key: value for key, value in dict(values).items() if isinstance(value, (bool, int, float))}
        return self.text(values)

    def exact(self, value: Any) -> str:
        """Return the exact form of an answer, masked; a form that is too large to be kept whole becomes its size."""
        text = to_json(self._masked(value), EXACT_BYTES + MARKED_BYTES)
        size_bytes = _size_bytes(text)
        return self._without_keys(text) if size_bytes <= EXACT_BYTES else to_json({"too_large": size_bytes})

    def raw(self, key: str, value: Any) -> Any:
        """Return the value of attribute *key* of another library's span."""
        kind = kind_of(key)
        if kind is ContentKind.MEASURE:
            return value
        if isinstance(value, str):
            return self._raw_text(kind, value)
        if isinstance(value, (list, tuple)):
            items = [self._raw_text(kind, item) if isinstance(item, str) else item for item in value]
            return [item for item in items if item is not None] if self._names else None
        if isinstance(value, (bool, int, float)):
            return value if self._content or (self._names and kind is not ContentKind.PAYLOAD) else self.payload(value)
        return self.payload(value)

    def _raw_text(self, kind: ContentKind, value: str) -> Any:
        if kind is ContentKind.LABEL:
            return self.name(value)
        if self.as_it_is and kind is ContentKind.TEXT and len(value) < self._max_bytes >> 2:
            return self._without_keys(value)
        return self.payload(value)

    # -- as text

    def text(self, value: Any) -> str:
        """Return *value* as the text that is sent."""
        if self._mask is not None:
            value = self._masked(value)
        media = self._media
        if media is None:
            text = to_json(value, self._max_bytes)
        else:
            return self._sifted(value, to_json(value, max(MEDIA_BYTES, self._max_bytes)))
        return self._without_keys(text)

    def _sifted(self, value: Any, text: str) -> str:
        """Return the text of *value* without media and keys, within the size limit."""
        if self._media is not None and ("base64" in text or '"data"' in text):
            text = self._media(text)
        if len(text) > self._max_bytes >> 2 and _size_bytes(text) > self._max_bytes:
            text = self._cut(value, text)
        return self._without_keys(text)

    def _shared(self, value: Any) -> str | Rope:
        """Return *value* as text, of which long histories are shared with that of other values."""
        try:
            made = SharedJson(value, self._max_bytes)
            rope = made.rope(self._check) if made.is_shared else None
        except Exception:  # noqa: BLE001  values of the application
            return self.text(value)
        if rope is not None:
            return rope
        if made.is_shared or len(made.text) > self._max_bytes:
            return self.text(value)
        return self._sifted(value, made.text.decode())

    def _is_plain(self, part: bytes) -> bool:
        """Return whether a part of a JSON text holds neither media nor keys."""
        if any(key.encode() in part for key in self._keys):
            return False
        if self._media is None or not (b"base64" in part or b'"data"' in part):
            return True
        from .media import MediaSieve

        sieve = MediaSieve()
        sieve.sift(f"[{part.decode().strip(',')}]")
        return not sieve.collected

    def _without_keys(self, text: str) -> str:
        for key in self._keys:
            if key in text:
                text = text.replace(key, KEY_REMOVED)
        return text

    def _masked(self, value: Any) -> Any:
        if self._mask is None:
            return value
        try:
            return self._mask(data=plain(value))
        except Exception as error:  # noqa: BLE001  the application's fault; its message may hold what the mask hides
            kind = type(error).__name__
            warn_once(f"mask {kind}", "The mask function raised %s: the value is replaced by a marker", kind)
            return MASK_FAILED

    def _cut(self, value: Any, text: str) -> str:
        if isinstance(value, str):
            return to_json(text, self._max_bytes)
        import orjson

        try:  # *text* holds references to media, *value* the media themselves
            return to_json(orjson.loads(text), self._max_bytes)
        except orjson.JSONDecodeError:
            return to_json(text, self._max_bytes)


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))

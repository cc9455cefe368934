"""One value on its way into a row: captured or not, masked, cut, written as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .payload import to_json
from .shield import report

TRUNCATED_BYTES = 2 * 1024
NOT_CAPTURED = "[not captured]"
MASK_FAILED = "[masked: the mask function failed]"


class Fields:
    """Writes single values by the settings.

    Args:
        capture: `full`, `truncated` or `none`.
        max_bytes: where a value is cut under `full`.
        mask: called as mask(data=value), as the Langfuse SDK does; when it raises, the value becomes a marker.
    """

    def __init__(self, capture: str = "full", max_bytes: int = 1024 * 1024, mask: Callable[..., Any] | None = None) -> None:
        self._captured = capture != "none"
        self._max_bytes = min(max_bytes, TRUNCATED_BYTES) if capture == "truncated" else max_bytes
        self._mask = mask

    def text(self, value: Any) -> str:
        """Return *value* as the text that is sent."""
        return to_json(self._masked(value), self._max_bytes)

    def payload(self, value: Any) -> str:
        """Return an input or output as the text that is sent."""
        return self.text(value) if self._captured else NOT_CAPTURED

    def raw(self, key: str, value: Any) -> Any:
        """Return an attribute that somebody else set: payloads are masked, the rest stays."""
        if isinstance(value, str) and key.startswith("langfuse.observation.") and key.endswith(("input", "output")):
            return self.payload(value)
        return value

    def _masked(self, value: Any) -> Any:
        if self._mask is None:
            return value
        try:
            return self._mask(data=value)
        except Exception as error:
            report("masking a value", error)
            return MASK_FAILED

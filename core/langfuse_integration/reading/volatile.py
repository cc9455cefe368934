"""Parts of a text that are different in every run: ids, times, temporary paths, ports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ..internals.bounded import BoundedDict
from .portable import in_texts
from .redaction import BY_NAMES, Redaction

RULES: tuple[tuple[str, str], ...] = (
    (r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])", "<id>"),
    (r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{16})\b", "<id>"),
    (r"\b(?:call|toolu|chatcmpl)[-_](?=[A-Za-z]*\d)[A-Za-z0-9_-]{8,}", "<id>"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?Z|[+-]\d\d:?\d\d)?", "<time>"),
    (r"(?:<tmp>|/tmp|/var/folders)/[^\s\"'`<>|:;,)\]}]+", "<tmp>"),
    (r"\b(localhost|127\.0\.0\.1):\d{2,5}\b", r"\1"),
)
"""Patterns and what stands for their matches."""
IGNORED = "<ignored>"
TEXTS_LIMIT = 10_000


class VolatileParts:
    """Removes what differs in every run; users add patterns.

    Args:
        patterns: regular expressions; what they match is not compared.
        redaction: how secrets are hidden.
    """

    def __init__(self, patterns: Iterable[str] = (), redaction: Redaction = BY_NAMES) -> None:
        self._redaction = redaction
        self._stable: BoundedDict[str, str] = BoundedDict(TEXTS_LIMIT)
        self._rules = [(re.compile(pattern), mark) for pattern, mark in RULES]
        for pattern in patterns:
            self.add(pattern)

    def add(self, pattern: str) -> None:
        """Ignore what the regular expression *pattern* matches."""
        self._rules.insert(0, (re.compile(pattern), IGNORED))
        self._stable.clear()

    def stable(self, value: Any) -> Any:
        """Return *value*, in plain values, as it is compared."""
        return _without_speakers(in_texts(self._redaction.values(value), self._text))

    def key(self, value: Any) -> str:
        """Return *value* as a text that is equal for equal values."""
        return json.dumps(self.stable(value), sort_keys=True, ensure_ascii=False, default=str)

    def _text(self, text: str) -> str:
        """Return a text as it is compared; a history repeats its texts in each step."""
        stable = self._stable.get(text)
        if stable is None:
            stable = self._stable[text] = self._without_rules(self._redaction.text(text))
        return stable

    def _without_rules(self, text: str) -> str:
        for pattern, mark in self._rules:
            text = pattern.sub(mark, text)
        return text


def _without_speakers(value: Any) -> Any:
    """Return *value* without the names of assistant messages, which LangChain sets once the answer was recorded.

    Whether a row shows the name depends on when it was written; the agent itself is compared by its place.
    """
    if isinstance(value, dict):
        hides = "name" in value and value.get("role") == "assistant"
        return {key: _without_speakers(item) for key, item in value.items() if not (hides and key == "name")}
    return [_without_speakers(item) for item in value] if isinstance(value, list) else value

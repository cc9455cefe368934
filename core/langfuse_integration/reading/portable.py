"""Values of a recording without secrets and without paths of the machine that recorded it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..internals.secrets import SECRET, without_secrets

_TOKENS = re.compile(
    r"\b(?:sk|pk|rk|xox[abp]|gh[pousr])[-_][A-Za-z0-9_-]{16,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r"|(?<=Bearer )[A-Za-z0-9._~+/-]{12,}=*"
)
"""Forms of well-known keys and tokens."""


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return *value* with *change* applied to each text in it, keys of mappings excepted."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: in_texts(item, change) for key, item in value.items()}
    return [in_texts(item, change) for item in value] if isinstance(value, list) else value


def portable(value: Any) -> Any:
    """Return *value* with markers for secrets, and `.`, `~` and `<tmp>` for the working, home and temporary folder."""
    return in_texts(without_secrets(value), portable_text)


def portable_text(text: str) -> str:
    """Return one text of a value as `portable` does."""
    for path, mark in _folders():
        if path in text:
            text = re.sub(re.escape(path) + r"(?![\w.-])", mark, text)
    return _TOKENS.sub(SECRET, text)


def _folders() -> list[tuple[str, str]]:
    """Return the machine's folders, the longest first, with what stands for them."""
    return _ordered(os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir())  # noqa: PTH109, PTH111  for every text


@lru_cache(8)
def _ordered(working: str, home: str, temporary: str) -> list[tuple[str, str]]:
    folders = {working: ".", home: "~", temporary: "<tmp>"}
    return sorted(((path, mark) for path, mark in folders.items() if len(path) > 1), key=lambda pair: -len(pair[0]))

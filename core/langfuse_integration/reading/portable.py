"""Texts of a recording without well-known keys and without paths of the machine that recorded it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..internals.secrets import SECRET

TOKENS = re.compile(
    r"\b(?:sk|pk|rk|xox[abeprs]|xapp|gh[pousr]|github_pat|glpat|whsec|dop_v1)[-_][A-Za-z0-9_-]{16,}"
    r"|\b(?:gsk|xai|pplx|tvly|nvapi|pcsk|lsv2_(?:pt|sk))[-_][A-Za-z0-9_-]{20,}|\bdapi[0-9a-f]{32}"
    r"|\b(?:hf|npm|r8|fw)_[A-Za-z0-9]{30,}|\bpypi-AgE[A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{35}|\bya29\.[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bSG\.[A-Za-z0-9_.-]{40,}"
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]*"
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


def portable_text(text: str) -> str:
    """Return a text with markers for keys and tokens, and for the working, home and temporary folder."""
    for path, mark in _folders():
        if path in text:
            text = re.sub(re.escape(path) + r"(?![\w.-])", mark, text)
    return TOKENS.sub(SECRET, text)


def places_of_folders(text: str) -> list[tuple[int, int, str]]:
    """Return where folders of this machine stand in a text, and what stands for them: `.`, `~` or `<tmp>`."""
    folders = _folders()
    if not any(path in text for path, _ in folders):
        return []
    marks = dict(folders)
    return [(*found.span(), marks[found[0]]) for found in _any_of(tuple(marks)).finditer(text)]


@lru_cache(8)
def _any_of(paths: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(map(re.escape, paths))})(?![\w.-])")


def _folders() -> list[tuple[str, str]]:
    """Return the machine's folders, the longest first, with what stands for them."""
    return _ordered(os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir())  # noqa: PTH109, PTH111  for every text


@lru_cache(8)
def _ordered(working: str, home: str, temporary: str) -> list[tuple[str, str]]:
    folders = {working: ".", home: "~", temporary: "<tmp>"}
    return sorted(((path, mark) for path, mark in folders.items() if len(path) > 1), key=lambda pair: -len(pair[0]))

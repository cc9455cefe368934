"""Names of entries, variables and headers whose values are secrets, as session files and replays tell them.

Unlike the rule for rows (`internals.secrets`), which hides whatever may be one, it leaves answers as they are: a
session file has to rebuild them.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache

WEAK_LENGTH = 16
"""Characters from which the value of a weak name is a secret."""
NAME_LENGTH = 100

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STRONG = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|credential|authori[sz]ation|cookie|bearer"
    r"|(?:api|private|access|secret|signing|encryption|subscription|account|master|auth)-?key"
    r"|(?:access|refresh|auth|session|bot|id)-?token)s?(?:-|$)"
    r"|-pwd$|^pwd$|(?:^|-)(?:db|user|root|admin|my-?sql|pg|postgres|smtp|mail|email|redis|ftp|proxy|ssh)-pass$"
)
_WEAK = re.compile(r"(?:token|jwt|(?:^|-)auth|(?:service|shared|admin|deploy|license|webhook|ssh)-?key)$")
_PLACE = re.compile(
    r"(?:^|-)(?:page|paging|next|continuation|cursor|sync|progress|resume|first|last|start|stop|end|max|special"
    r"|[bep]os|pad|unk|sep|cls|mask)-?token$"
)
"""Tokens that are no secrets: where a listing goes on, and tokens of a model."""
_DESCRIBES = frozenset({
    "url", "uri", "urls", "endpoint", "endpoints", "server", "servers", "name", "names", "type", "types",
    "policy", "count", "length", "size", "limit", "hint", "version", "status", "required", "enabled", "disabled",
    "expires", "expiry", "expiration", "at", "in", "date", "time", "ttl", "method", "methods", "mode", "scope",
    "scopes", "field", "path", "file", "filename", "format", "label", "description", "title", "message", "error",
    "min", "max", "reset", "param", "parameter", "parameters", "arn", "prompt", "question", "manager", "store",
    "algorithm", "alg", "page", "usage", "provider", "supported",
})  # fmt: skip
"""Last words of names that tell something about a secret: `authorization_url`, `password_hint`."""


class Strength(IntEnum):
    """How surely a name tells a secret: of a weak one only a long value without spaces is one."""

    NONE = 0
    WEAK = 1
    STRONG = 2


@lru_cache(4096)
def strength_of(name: str) -> Strength:
    """Return how surely an entry of this name holds a secret."""
    words = [word.lower() for word in _WORDS.findall(name[-NAME_LENGTH:])]
    while words and words[-1].isdigit():
        words.pop()
    joined = "-".join(words)
    if not words or words[-1] in _DESCRIBES or _PLACE.search(joined):
        return Strength.NONE
    return Strength.STRONG if _STRONG.search(joined) else Strength.WEAK if _WEAK.search(joined) else Strength.NONE


def is_path(value: str) -> bool:
    """Return whether a value of a name such as `pwd` is a folder instead."""
    return value.startswith(("/", "~", ".", "<tmp>"))


def is_secret(name: str, value: str, strength: Strength | None = None) -> bool:
    """Return whether the text *value* of an entry is a secret."""
    strength = strength_of(name) if strength is None else strength
    if strength is Strength.WEAK:
        return len(value) >= WEAK_LENGTH and not any(map(str.isspace, value))
    return strength is Strength.STRONG and bool(value) and not (name.lower().endswith("pwd") and is_path(value))

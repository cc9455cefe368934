"""Names of entries that hold secrets: headers, keys, passwords and tokens are never recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

SECRET = "[a secret was here]"
MAX_DEPTH = 20

names_a_secret = re.compile(
    r"(?i:api[-_]?key|secret|passw(or)?d|passphrase|credential|authori[sz]ation|bearer|cookie|private[-_]?key"
    r"|access[-_]?key|(^|[-_])(auth|token|headers?)$)|[a-z](Auth|Token|Headers?)$"
).search
"""Return a match if an entry of this name holds a secret. `max_tokens` and `first_token_ms` do not."""


def without_secrets(value: Any, depth: int = 0) -> Any:
    """Return *value* with a marker in the place of each text, or list or mapping of texts, whose name tells a secret.

    A description of such an entry, as in a JSON schema, stays: it is a mapping with a `type`.
    """
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return {key: _entry(key, item, depth) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < MAX_DEPTH:
        return [without_secrets(item, depth + 1) for item in cast("list[Any]", value)]
    return value


def _entry(key: Any, value: Any, depth: int) -> Any:
    if isinstance(key, str) and names_a_secret(key) and not isinstance(value, (bool, int, float, type(None))):
        described = isinstance(value, Mapping) and ("type" in value or "$ref" in value or "anyOf" in value)
        if not described:
            return SECRET
    return without_secrets(value, depth + 1)

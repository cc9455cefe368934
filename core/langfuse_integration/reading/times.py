"""Points in time as people write them: `90s`, `2h`, `7d`, `2030-01-31`, `2030-01-31T14:30`."""

from __future__ import annotations

import re
import time
from datetime import datetime

LATEST_NS = 2**63 - 1
"""The largest number that a column of the journal takes."""
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)", re.IGNORECASE)
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def age_s(value: str) -> float:
    """Return an age such as `90s`, `15m`, `2h`, `7d` or `3w` in seconds.

    Raises:
        ValueError: it is none.
    """
    match = _AGE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no age: write 90s, 15m, 2h, 7d or 3w.")
    return float(match[1]) * _UNIT_S[match[2].lower()]


def since_ns(value: str) -> int:
    """Return a point in time, given as an age or in ISO 8601 (local unless it says a zone), in ns since 1970.

    Raises:
        ValueError: it is neither.
    """
    if _AGE.fullmatch(value.strip()):
        return int(max(time.time() - age_s(value), 0) * 1e9)
    try:
        return min(int(max(datetime.fromisoformat(value.strip()).timestamp(), 0) * 1e9), LATEST_NS)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{value!r} is no time: write an age (90s, 15m, 2h, 7d) or a date (2030-01-31, 2030-01-31T14:30)."
        ) from None

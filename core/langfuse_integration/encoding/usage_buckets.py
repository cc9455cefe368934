"""Token usage as Langfuse's server stores it: what its own OpenAI client sends comes with OpenAI's names.

The rules are those of the server's ingestion (Langfuse 4.16): prompt_tokens and input_tokens are the input,
completion_tokens and output_tokens the output, and details are taken out of the sum that they are part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIDES = {
    "input": ("prompt_tokens", "input_tokens"),
    "output": ("completion_tokens", "output_tokens"),
}
_TOTAL = "total_tokens"
_NAMES = frozenset({*(name for names in SIDES.values() for name in names), _TOTAL})


def disjoint_buckets(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return usage in Langfuse's disjoint buckets; usage that is in buckets already is returned as it is."""
    if not _NAMES & usage.keys():
        return dict(usage)
    details_names = {name + "_details" for name in _NAMES}
    buckets = {name: count for name, count in usage.items() if name not in _NAMES | details_names}
    for side, names in SIDES.items():
        for name in names:
            if not _is_count(usage.get(name)):
                continue
            left = usage[name]
            details = usage.get(name + "_details")
            for detail, count in details.items() if isinstance(details, Mapping) else ():
                if _is_count(count):
                    buckets[f"{side}_{detail}"] = count
                    left -= count
            buckets[side] = buckets.get(side, 0) + max(left, 0)
    if _is_count(usage.get(_TOTAL)):
        buckets["total"] = usage[_TOTAL]
    return buckets


def _is_count(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

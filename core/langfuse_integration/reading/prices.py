"""Costs of model calls for which neither the application nor Langfuse told one: from the list prices of genai-prices.

Such a cost is shown here and sent nowhere. Without the package (the extra `prices`) there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ..internals.bounded import BoundedDict

MODELS_LIMIT = 500
"""The most models whose prices are kept."""
SAMPLE_TOKENS = (1_000, 1_000_000)
"""A price per token is the same at both counts, or else depends on the length of the request."""
TOLERANCE = 1e-9

# By the beginning of a bucket's name, the first that fits: what genai-prices calls these tokens. Parts of the input and
# of the output are counted in the whole as well.
KINDS = (
    ("input_cached_audio", ("input_tokens", "cache_read_tokens", "input_audio_tokens", "cache_audio_read_tokens")),
    ("input_cached", ("input_tokens", "cache_read_tokens")),
    ("input_cache_read", ("input_tokens", "cache_read_tokens")),
    ("input_cache_creation", ("input_tokens", "cache_write_tokens")),
    ("input_audio", ("input_tokens", "input_audio_tokens")),
    ("input", ("input_tokens",)),
    ("output_audio", ("output_tokens", "output_audio_tokens")),
    ("output", ("output_tokens",)),
)

_per_token: BoundedDict[tuple[str, tuple[str, ...]], float | None] = BoundedDict(MODELS_LIMIT * len(KINDS))


def list_price(model: str | None, usage: Mapping[str, float]) -> float | None:
    """Return the price in US dollars of a model call.

    Args:
        model: the name of the model that answered.
        usage: tokens in disjoint buckets of Langfuse; `total` is ignored.

    Returns:
        None where the model or one kind of its tokens has no list price.
    """
    if not model or _library() is None:
        return None
    total = 0.0
    for bucket, count in usage.items():
        if bucket == "total" or not count:
            continue
        names = next((names for beginning, names in KINDS if bucket.startswith(beginning)), None)
        price = _unit_price(model, names) if names is not None else None
        if price is None:
            return _exact_price(model, usage)
        total += price * count
    return total


@cache
def _library() -> Any:
    try:
        import genai_prices
    except ImportError:
        return None
    return genai_prices


def _unit_price(model: str, names: tuple[str, ...]) -> float | None:
    """Return the price of one token; None where there is none, or where it depends on the length of the request."""
    key = (model, names)
    if key not in _per_token:
        low, high = (_calculated(model, dict.fromkeys(names, count)) for count in SAMPLE_TOKENS)
        known = low is not None and high is not None
        prices = (
            (low / SAMPLE_TOKENS[0], high / SAMPLE_TOKENS[1]) if low is not None and high is not None else (0.0, 0.0)
        )
        _per_token[key] = prices[1] if known and abs(prices[0] - prices[1]) < TOLERANCE else None
    return _per_token.get(key)


def _exact_price(model: str, usage: Mapping[str, float]) -> float | None:
    counts: dict[str, float] = {}
    for bucket, count in usage.items():
        if bucket == "total" or not count:
            continue
        names = next((names for beginning, names in KINDS if bucket.startswith(beginning)), None)
        if names is None:
            return None
        for name in names:
            counts[name] = counts.get(name, 0) + count
    return _calculated(model, counts)


def _calculated(model: str, counts: dict[str, Any]) -> float | None:
    library = _library()
    try:
        return float(library.calc_price(library.Usage(**counts), model_ref=model).total_price)
    except (LookupError, ValueError, TypeError):  # an unknown model; tokens of a kind that the model does not price
        return None

"""A provider's report of tokens as Langfuse's usage buckets: for every adapter, on the worker.

Langfuse adds the buckets up, and prices each by its name. So every token stands in one bucket, their sum is the
provider's total, and tokens of a kind that has no price of its own for the model count in the bucket that has one.
What providers call their numbers stands in the tables below; a new provider is a new name in them.

More than 300 lines: most of it is tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain, combinations
from typing import Any, NamedTuple, cast

from .priced_buckets import priced_buckets

INPUT = (
    *("input_tokens", "prompt_tokens"),  # Anthropic, OpenAI, LangChain, Mistral, Cohere; Bedrock Converse in camel case
    *("prompt_token_count", "input_token_count", "input_text_token_count"),  # Gemini, Llama; Bedrock InvokeModel; Titan
    "prompt_eval_count",  # Ollama
)
OUTPUT = (
    *("output_tokens", "completion_tokens"),
    *("candidates_token_count", "generation_token_count", "output_token_count", "total_output_text_token_count"),
    *("generated_token_count", "eval_count"),  # watsonx, Ollama
)
COHERE_CACHED = "cached_tokens"
"""A part of the input, which Cohere reports beside `tokens` and `billed_units` (API v2)."""
TOTAL = ("total_tokens", "total_token_count")
"""Names in snake case; the same in camel case are found, too."""


class UsagePart(NamedTuple):
    """Tokens of one kind.

    Attributes:
        whole: `input` or `output`, of which they are a part.
        paths: where reports name them, the first number counts: names with dots; `LIST:MARK` is the sum over a list.
        group: parts that a provider counts either all within the whole or all beside it.
        beside: paths that stand in reports which count them beside the whole.
    """

    whole: str
    paths: tuple[str, ...]
    group: str = ""
    beside: tuple[str, ...] = ()


DETAILS = ("input_token_details", "input_tokens_details", "prompt_tokens_details")
OUTPUT_DETAILS = ("output_token_details", "output_tokens_details", "completion_tokens_details")


def _in(places: tuple[str, ...], *names: str) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for place in places for name in names)


PARTS: dict[str, UsagePart] = {
    "cached": UsagePart(
        "input",
        (
            *_in(DETAILS, "cache_read", "cached_tokens"),  # LangChain; OpenAI
            "cached_content_token_count",  # Gemini
            "prompt_cache_hit_tokens",  # DeepSeek
            "num_cached_tokens",  # Mistral
            COHERE_CACHED,
        ),
        "cache",
        ("cache_read_input_tokens", "cache_read_input_token_count"),  # Anthropic, Bedrock
    ),
    "written": UsagePart(
        "input",
        _in(DETAILS, "cache_creation", "cache_write_tokens", "cache_creation_tokens"),
        "cache",
        (
            *("cache_creation_input_tokens", "cache_write_input_tokens", "cache_write_input_token_count"),
            *("cache_write_tokens",),
        ),
    ),
    "written_5m": UsagePart(
        "input",
        _in(DETAILS, "ephemeral_5m_input_tokens"),
        "cache",
        ("cache_creation.ephemeral_5m_input_tokens", "cache_details:5m"),
    ),
    "written_1h": UsagePart(
        "input",
        _in(DETAILS, "ephemeral_1h_input_tokens"),
        "cache",
        ("cache_creation.ephemeral_1h_input_tokens", "cache_details:1h"),
    ),
    "audio": UsagePart("input", (*_in(DETAILS, "audio", "audio_tokens"), "prompt_tokens_details:audio")),
    "cached_audio": UsagePart(
        "input", (*_in(DETAILS, "cached_tokens_details.audio_tokens"), "cache_tokens_details:audio"), "within cached"
    ),
    "tools": UsagePart("input", (), "tools", ("tool_use_prompt_token_count",)),  # Gemini
    "reasoning": UsagePart(
        "output",
        _in(OUTPUT_DETAILS, "reasoning", "reasoning_tokens", "thinking_tokens"),
        "reasoning",
        ("thoughts_token_count",),  # Gemini
    ),
    "spoken": UsagePart("output", (*_in(OUTPUT_DETAILS, "audio", "audio_tokens"), "candidates_tokens_details:audio")),
}
_PATHS = [path for part in PARTS.values() for path in (*part.paths, *part.beside)]
PROVIDER_NAMES = frozenset(
    (*INPUT, *OUTPUT, *TOTAL, *DETAILS, *OUTPUT_DETAILS, *(re.split(r"[.:]", path)[0] for path in _PATHS))
)
"""What stands at the top of reports."""
NESTED = ("tokens", "billed_units")
"""Where Cohere keeps the numbers."""
SERVICE_TIERS = ("", "priority_", "flex_")
"""OpenAI's; langchain-openai puts them before the names of the details."""

BUCKETS: dict[str, tuple[str, ...]] = {
    "input": ("input", "input_text_tokens", "input_text"),
    "cached": ("input_cached_tokens", "input_cached_text_tokens"),
    "cached_audio": ("input_cached_audio_tokens", "input_cached_tokens", "input_audio_tokens", "input_audio"),
    "written": ("input_cache_creation",),
    "written_1h": ("input_cache_creation_1h", "input_cache_creation"),
    "audio": ("input_audio_tokens", "input_audio"),
    "output": ("output", "output_text_tokens", "output_text"),
    "reasoning": ("output_reasoning_tokens",),
    "spoken": ("output_audio_tokens", "output_audio"),
}
"""The buckets for each kind of tokens, the best first; where none has a price, the whole's takes them."""
GEMINI_REASONING = "output_reasoning"
"""The only name that servers before 4 have a price by."""
WHOLES = {kind: part.whole for kind, part in PARTS.items()} | {"input": "input", "output": "output"}


def first_buckets(reports: Iterable[Any], model: str | None = None) -> dict[str, int]:
    """Return the buckets of the first of *reports* that names tokens; zeros count only where no report names more."""
    zeros: dict[str, int] = {}
    for report in reports:
        if report is None:
            continue
        buckets = usage_buckets(report, model)
        if any(buckets.values()):
            return buckets
        zeros = zeros or buckets
    return zeros


def in_buckets(usage: Mapping[str, Any], model: str | None = None) -> Mapping[str, Any]:
    """Return *usage* in Langfuse's buckets if a provider's names are all that is in it, else as it is."""
    if "input" in usage or "output" in usage or not usage.keys() <= PROVIDER_NAMES:
        return usage
    return usage_buckets(usage, model) or usage


def usage_buckets(report: Any, model: str | None = None) -> dict[str, int]:
    """Return a provider's report of tokens as disjoint buckets of Langfuse.

    Args:
        report: a mapping or an object, as the provider's client or the framework gives it.
        model: the model that answered; it decides which buckets have a price.
    """
    taken, given, total = _number(report, INPUT), _number(report, OUTPUT), _number(report, TOTAL)
    if taken is None and given is None:
        nested = next((place for name in NESTED if (place := _get(report, name)) is not None), None)
        if nested is not None:
            return usage_buckets(_with_cached(nested, report), model)
        return {"total": total} if total else {}
    if taken is None and total is not None:
        taken = max(total - (given or 0), 0)
    kinds = _kinds(report, {"input": taken or 0, "output": given or 0}, total)
    for kind, number in (("input", taken), ("output", given)):
        if number is None and not kinds[kind]:
            del kinds[kind]
    return _by_price(kinds, model)


def _with_cached(nested: Any, report: Any) -> Any:
    """Return the place where Cohere keeps the numbers, with the cached tokens that stand above it."""
    cached = _get(report, COHERE_CACHED)
    if cached is None:
        return nested
    wholes = {INPUT[0]: _number(nested, INPUT), OUTPUT[0]: _number(nested, OUTPUT)}
    return {**{name: number for name, number in wholes.items() if number is not None}, COHERE_CACHED: cached}


def _kinds(report: Any, wholes: dict[str, int], total: int | None) -> dict[str, int]:
    """Return the tokens by kind, each token in one of them."""
    parts, named = _parts(report)
    cached_audio = min(parts.pop("cached_audio", 0), parts.get("cached", 0))
    if "audio" in parts:
        parts["audio"] = max(parts["audio"] - cached_audio, 0)
    sizes: dict[str, int] = {}
    for kind, count in parts.items():
        group = PARTS[kind].group
        if group:
            sizes[group] = sizes.get(group, 0) + count
    beside = _beside(sizes, named, total - sum(wholes.values()) if total else None)
    kinds = dict(wholes)
    for kind, count in parts.items():
        part = PARTS[kind]
        if part.group not in beside:
            count = min(count, kinds[part.whole])
            kinds[part.whole] -= count
        kind = "input" if kind == "tools" else kind
        kinds[kind] = kinds.get(kind, 0) + count
    if cached_audio:
        kinds["cached_audio"] = min(cached_audio, kinds.get("cached", 0))
        kinds["cached"] -= kinds["cached_audio"]
    if total:  # what is more than all that is named: thoughts that the provider does not show
        kinds["output"] += max(total - sum(kinds.values()), 0)
    return kinds


def _parts(report: Any) -> tuple[dict[str, int], set[str]]:
    """Return the parts that a report names, and the groups that it names where others count beside the whole."""
    parts: dict[str, int] = {}
    beside: set[str] = set()
    for kind, part in PARTS.items():
        count = _number(report, part.beside)
        if count:
            beside.add(part.group)
        else:
            count = _number(report, part.paths)
        if count:
            parts[kind] = count
    _split_writes(parts)
    return parts, beside


def _split_writes(parts: dict[str, int]) -> None:
    """Make the writes to a cache those of five minutes and those of an hour.

    Anthropic counts both in one number beside; langchain-anthropic did before 1.1.
    """
    written, short, long = (parts.pop(kind, 0) for kind in ("written", "written_5m", "written_1h"))
    whole = written if written >= short + long else written + short + long
    if whole - long:
        parts["written"] = whole - long
    if long:
        parts["written_1h"] = long


def _beside(sizes: dict[str, int], beside: set[str], excess: int | None) -> set[str]:
    """Return the groups of parts that the report counts beside input and output.

    Args:
        sizes: the tokens of each group.
        beside: the groups that the names tell of.
        excess: what the total is more than input and output, or None without a total: it proves who is right.
    """
    beside = beside & sizes.keys()
    if excess is None or sum(sizes[group] for group in beside) == excess:
        return beside
    subsets = chain.from_iterable(combinations(sizes, count) for count in range(len(sizes) + 1))
    fitting = (set(subset) for subset in subsets if sum(sizes[group] for group in subset) == excess)
    return min(fitting, key=lambda subset: len(subset ^ beside), default=beside)


def _by_price(kinds: dict[str, int], model: str | None) -> dict[str, int]:
    priced = priced_buckets(model)
    buckets: dict[str, int] = {}
    for kind in BUCKETS:
        count = kinds.get(kind)
        if count is None or (count == 0 and kind not in ("input", "output")):
            continue
        bucket = _bucket(kind, priced, model)
        buckets[bucket] = buckets.get(bucket, 0) + count
    return buckets


def _bucket(kind: str, priced: frozenset[str] | None, model: str | None) -> str:
    names = BUCKETS[kind]
    if kind == "reasoning" and model is not None and "gemini" in model.lower():
        names = (GEMINI_REASONING,)
    if priced is None:
        return names[0]
    whole = BUCKETS[WHOLES[kind]]
    return next((name for name in (*names, *whole) if name in priced), whole[0])


# -- numbers in reports


@lru_cache(maxsize=1_000)
def _leading(paths: tuple[str, ...], names: frozenset[Any]) -> tuple[str, ...]:
    """Return those of *paths* that begin with one of *names*: a report has a few names, and providers few reports."""
    return tuple(path for path in paths if not names.isdisjoint(_spellings(re.split(r"[.:]", path)[0])))


def _number(report: Any, paths: tuple[str, ...]) -> int | None:
    """Return the first number above 0 that one of *paths* leads to, else 0 if one leads to it, else None."""
    zero: int | None = None
    for path in _leading(paths, frozenset(report)) if type(report) is dict else paths:
        number = _at(report, path)
        if number:
            return number
        if number == 0:
            zero = 0
    return zero


def _at(report: Any, path: str) -> int | None:
    if ":" in path:
        place, _, mark = path.partition(":")
        return _listed(_get(report, place), mark)
    places, _, name = path.rpartition(".")
    for place in places.split(".") if places else ():
        report = _get(report, place)
        if report is None:
            return None
    for tier in SERVICE_TIERS if places else ("",):
        number = _whole_number(_get(report, tier + name))
        if number is not None:
            return number
    return None


def _listed(entries: Any, mark: str) -> int | None:
    """Return the sum over the entries of *mark*: Gemini's by modality, Bedrock's by time to live."""
    if not isinstance(entries, (list, tuple)):
        return None
    numbers = [
        _whole_number(_get(entry, "token_count")) or _whole_number(_get(entry, "input_tokens")) or 0
        for entry in cast("list[Any]", entries)
        if str(_get(entry, "modality") or _get(entry, "ttl") or "").lower().rpartition(".")[2] == mark
    ]
    return sum(numbers)


def _get(report: Any, name: str) -> Any:
    """Return the entry or attribute *name* of a report, in snake case or in camel case; None without one."""
    if report is None or isinstance(report, (str, bytes, int, float, list, tuple)):
        return None
    is_mapping = type(report) is dict or isinstance(report, Mapping)
    for key in _spellings(name):
        value = report.get(key) if is_mapping else getattr(report, key, None)
        if value is not None:
            return value
    return None


@lru_cache(maxsize=1_000)
def _spellings(name: str) -> tuple[str, ...]:
    head, *rest = name.split("_")
    return (name, head + "".join(word.capitalize() for word in rest)) if rest else (name,)


def _whole_number(value: Any) -> int | None:
    """Return a whole number of 0 or more; a list of them, as LangChain merges streamed ones, is added up."""
    if isinstance(value, (list, tuple)):
        numbers = [_whole_number(item) for item in cast("list[Any]", value)]
        return sum(number or 0 for number in numbers) if numbers else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0 or value == float("inf"):
        return None
    return int(value) if value == int(value) else None

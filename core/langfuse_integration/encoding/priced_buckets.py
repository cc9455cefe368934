"""The usage buckets that Langfuse has a price for, by model: a bucket without one costs nothing.

Taken from `worker/src/constants/default-model-prices.json` of Langfuse 4.16. A rule may be wider than Langfuse's
own pattern where the family has the same buckets throughout. What no rule knows has no default price.
"""

from __future__ import annotations

import re
from functools import lru_cache

BASIC = frozenset({"input", "output"})
CACHED = BASIC | {"input_cached_tokens"}
AUDIO = frozenset({"input_audio_tokens", "output_audio_tokens"})
REASONING = frozenset({"output_reasoning_tokens", "output_reasoning"})
WRITTEN = frozenset({"input_cache_creation"})
SPOKEN = AUDIO | {"input_text_tokens", "output_text_tokens"}

RULES: tuple[tuple[str, frozenset[str]], ...] = (
    (r"gpt-4o-audio-preview", SPOKEN),
    (r"gpt-4o-realtime-preview", SPOKEN | {"input_cached_text_tokens", "input_cached_audio_tokens"}),
    (r"claude-(instant|[12](\.|$)|3-opus-20240229|3-haiku-20240307|3-opus@|3-haiku@)", BASIC),
    (r"claude", CACHED | WRITTEN | {"input_cache_creation_1h"}),
    (r"gemini-live", frozenset({"input_text", "input_audio", "input_image", "output_text", "output_audio"})),
    (r"gemini-(1\.|pro|2\.0)", BASIC),
    (r"gemini-(2\.5-flash|3\.1-flash-lite)", CACHED | REASONING | {"input_audio_tokens"}),
    (r"gemini", CACHED | REASONING),
    (r"\b(o[13]|gpt-5(\.\d)?)-pro\b", BASIC | REASONING),
    (r"\bo[134](-(mini|preview))?(-\d{4}-\d\d-\d\d)?$", CACHED | REASONING),
    (r"gpt-5\.4-(mini|nano)", CACHED),
    (r"gpt-5\.6-(sol|terra|luna)", CACHED | WRITTEN | REASONING),
    (r"gpt-5(\.[1245])?(-\d{4}-\d\d-\d\d)?$|gpt-5-(mini|nano|chat-latest)|gpt-5\.3-codex", CACHED | REASONING),
    (r"gpt-4o-2024-05-13|chatgpt-4o-latest", BASIC),
    (r"gpt-4(o|\.[15])", CACHED),
    (r"gpt-(3\.?5|4)|davinci-002|babbage-002|-bison|-gecko|-unicorn", BASIC),
    # Newer OpenAI models: all have a price for cached tokens; reasoning without a price costs as much as output.
    (r"\bgpt-|\bo\d\b", CACHED | AUDIO),
)
"""The first pattern that is found in the name of a model, in lower case, counts."""


@lru_cache(256)
def priced_buckets(model: str | None) -> frozenset[str] | None:
    """Return the buckets that have a price for *model*, or None where Langfuse has no default price for it."""
    if not model:
        return None
    name = model.lower()
    return next((buckets for pattern, buckets in RULES if re.search(pattern, name)), None)

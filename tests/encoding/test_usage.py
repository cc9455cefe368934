"""Usage: every provider's report becomes disjoint buckets that Langfuse has prices for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Usage as AnthropicUsage
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CompletionUsage
from openai.types.responses import ResponseUsage

from langfuse_integration.encoding.priced_buckets import priced_buckets
from langfuse_integration.encoding.usage import PARTS, first_buckets, in_buckets, usage_buckets

UNKNOWN = "a-model-without-prices"
CLAUDE, GPT, GEMINI = "claude-sonnet-4-5", "gpt-5", "gemini-3-pro-preview"
MODELS = (None, UNKNOWN, CLAUDE, GPT, GEMINI, "gpt-4o", "gpt-5.6-sol", "gpt-4o-audio-preview", "claude-2.0", "o1-pro")


def langchain(taken: int, given_out: int, into: Any = None, out: Any = None, total: int | None = None) -> Any:
    """LangChain's usage metadata, in which details are parts of the totals."""
    report: dict[str, Any] = {"input_tokens": taken, "output_tokens": given_out}
    report["total_tokens"] = taken + given_out if total is None else total
    if into is not None:
        report["input_token_details"] = into
    if out is not None:
        report["output_token_details"] = out
    return report


def openai(**numbers: Any) -> dict[str, Any]:
    """A report of OpenAI's chat completions."""
    return CompletionUsage.model_validate(numbers).model_dump()


REPORTS = [
    pytest.param(langchain(10, 5), None, {"input": 10, "output": 5}, id="plain"),
    pytest.param(
        langchain(10, 5, {"cache_read": 4}), None, {"input": 6, "input_cached_tokens": 4, "output": 5}, id="read"
    ),
    pytest.param(
        langchain(10, 5, {"cache_creation": 3}),
        None,
        {"input": 7, "input_cache_creation": 3, "output": 5},
        id="written",
    ),
    pytest.param(
        langchain(10, 5, {}, {"reasoning": 2}), GPT, {"input": 10, "output": 3, "output_reasoning_tokens": 2}, id="o"
    ),
    pytest.param(
        langchain(10, 5, {}, {"reasoning": 2}), GEMINI, {"input": 10, "output": 3, "output_reasoning": 2}, id="gemini"
    ),
    pytest.param(langchain(10, 5, {}, {"reasoning": 2}), "claude-5", {"input": 10, "output": 5}, id="claude thinks"),
    pytest.param(langchain(10, 5, {}, {"reasoning": 2}), "gpt-5.4-mini", {"input": 10, "output": 5}, id="mini thinks"),
    pytest.param(langchain(10, 5, {"cache_creation": 3}), GPT, {"input": 10, "output": 5}, id="gpt writes"),
    pytest.param(
        langchain(10, 5, {"cache_creation": 3}),
        "gpt-5.6-sol",
        {"input": 7, "input_cache_creation": 3, "output": 5},
        id="gpt with a price for writes",
    ),
    pytest.param(
        langchain(10, 5, {"cache_creation": 3, "ephemeral_5m_input_tokens": 3}),
        "claude-5",
        {"input": 7, "input_cache_creation": 3, "output": 5},
        id="langchain-anthropic before 1.1",
    ),
    pytest.param(
        langchain(10, 5, {}, {"reasoning": 2}), "us.anthropic.claude-5-v1:0", {"input": 10, "output": 5}, id="bedrock"
    ),
    pytest.param(
        langchain(10, 5, {"cache_creation": 0, "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}),
        "claude-5",
        {"input": 5, "input_cache_creation": 3, "input_cache_creation_1h": 2, "output": 5},
        id="both times to live",
    ),
    pytest.param(
        langchain(10, 5, {"priority": 6, "priority_cache_read": 4}, {"priority": 3, "priority_reasoning": 2}),
        GPT,
        {"input": 6, "input_cached_tokens": 4, "output": 3, "output_reasoning_tokens": 2},
        id="priority tier",
    ),
    pytest.param(
        langchain(10, 5, {"audio": 3}, {"audio": 1}),
        None,
        {"input": 7, "input_audio_tokens": 3, "output": 4, "output_audio_tokens": 1},
        id="audio",
    ),
    pytest.param(
        langchain(10, 20, {"cache_creation": 3, "cache_read": 2}, total=35),
        "anthropic.claude-sonnet-4-5-v1:0",
        {"input": 10, "input_cached_tokens": 2, "input_cache_creation": 3, "output": 20},
        id="langchain-aws 1.0 to 1.4 counts beside",
    ),
    pytest.param(
        langchain(10, 20, {"cache_read": 2}, {"reasoning": 7}, total=37),
        GEMINI,
        {"input": 8, "input_cached_tokens": 2, "output": 20, "output_reasoning": 7},
        id="langchain-google-vertexai counts thoughts beside",
    ),
    pytest.param(
        langchain(10, 20, total=37), GEMINI, {"input": 10, "output": 27}, id="thoughts that only the total has"
    ),
    pytest.param(
        openai(
            prompt_tokens=30,
            completion_tokens=8,
            total_tokens=38,
            prompt_tokens_details={"audio_tokens": 20, "cached_tokens": 4},
            completion_tokens_details={"audio_tokens": 6, "reasoning_tokens": 0},
        ),
        "gpt-4o-audio-preview",
        {"input_text_tokens": 10, "input_audio_tokens": 20, "output_text_tokens": 2, "output_audio_tokens": 6},
        id="openai audio",
    ),
    pytest.param(
        openai(
            prompt_tokens=100,
            completion_tokens=30,
            total_tokens=130,
            prompt_tokens_details={"cached_tokens": 40},
            completion_tokens_details={"reasoning_tokens": 20, "accepted_prediction_tokens": 3},
        ),
        "o3",
        {"input": 60, "input_cached_tokens": 40, "output": 10, "output_reasoning_tokens": 20},
        id="openai chat",
    ),
    pytest.param(
        ResponseUsage.model_validate(
            {
                "input_tokens": 100,
                "output_tokens": 30,
                "total_tokens": 130,
                "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 20},
            }
        ),
        GPT,
        {"input": 60, "input_cached_tokens": 40, "output": 10, "output_reasoning_tokens": 20},
        id="openai responses",
    ),
    pytest.param(
        AnthropicUsage.model_validate(
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_creation_input_tokens": 150,
                "cache_read_input_tokens": 7,
                "cache_creation": {"ephemeral_1h_input_tokens": 100, "ephemeral_5m_input_tokens": 50},
            }
        ),
        CLAUDE,
        {
            "input": 10,
            "input_cached_tokens": 7,
            "input_cache_creation": 50,
            "input_cache_creation_1h": 100,
            "output": 5,
        },
        id="anthropic",
    ),
    pytest.param(
        {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 4, "cache_read_input_tokens": None},
        "claude-2.0",
        {"input": 14, "output": 5},
        id="a model without a price for caching",
    ),
    pytest.param(
        {
            "prompt_token_count": 100,
            "candidates_token_count": 20,
            "thoughts_token_count": 30,
            "tool_use_prompt_token_count": 15,
            "cached_content_token_count": 40,
            "total_token_count": 165,
        },
        GEMINI,
        {"input": 75, "input_cached_tokens": 40, "output": 20, "output_reasoning": 30},
        id="gemini",
    ),
    pytest.param(
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            "totalTokenCount": 120,
            "cachedContentTokenCount": 50,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 40},
                {"modality": "AUDIO", "tokenCount": 60},
            ],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 25}],
        },
        "gemini-2.5-flash",
        {"input": 15, "input_cached_tokens": 50, "input_audio_tokens": 35, "output": 20},
        id="vertex by REST, with sound that is partly cached",
    ),
    pytest.param(
        {
            "inputTokens": 10,
            "outputTokens": 20,
            "totalTokens": 35,
            "cacheReadInputTokens": 2,
            "cacheWriteInputTokens": 3,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 1}, {"ttl": "5m", "inputTokens": 2}],
        },
        "us.anthropic.claude-sonnet-4-5-v1:0",
        {
            "input": 10,
            "input_cached_tokens": 2,
            "input_cache_creation": 2,
            "input_cache_creation_1h": 1,
            "output": 20,
        },
        id="bedrock converse",
    ),
    pytest.param(
        {
            "inputTokenCount": 10,
            "outputTokenCount": 20,
            "cacheReadInputTokenCount": 2,
            "cacheWriteInputTokenCount": 3,
        },
        CLAUDE,
        {"input": 10, "input_cached_tokens": 2, "input_cache_creation": 3, "output": 20},
        id="bedrock invoke model",
    ),
    pytest.param(
        {"input_tokens": [7, 3], "output_tokens": [0, 20]}, None, {"input": 10, "output": 20}, id="bedrock streamed"
    ),
    pytest.param({"prompt_eval_count": 10, "eval_count": 5}, "llama3", {"input": 10, "output": 5}, id="ollama"),
    pytest.param(
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "num_cached_tokens": 4},
        "mistral-large",
        {"input": 6, "input_cached_tokens": 4, "output": 5},
        id="mistral",
    ),
    pytest.param(
        {
            "billed_units": {"input_tokens": 8.0, "output_tokens": 5.0},
            "tokens": {"input_tokens": 10.0, "output_tokens": 5.0},
        },
        "command-a",
        {"input": 10, "output": 5},
        id="cohere",
    ),
    pytest.param(
        {
            "billed_units": {"input_tokens": 8.0, "output_tokens": 5.0},
            "tokens": {"input_tokens": 10.0, "output_tokens": 5.0},
            "cached_tokens": 4.0,
        },
        "command-a",
        {"input": 6, "input_cached_tokens": 4, "output": 5},
        id="cohere with a cache",
    ),
    pytest.param(
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 35,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        "grok-4",
        {"input": 6, "input_cached_tokens": 4, "output": 5, "output_reasoning_tokens": 20},
        id="grok counts thoughts beside",
    ),
    pytest.param(
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        "gpt-4o",
        {"input": 10, "output": 5},
        id="azure without details",
    ),
    pytest.param(
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_creation_input_tokens": 0,
            "server_tool_use": {"web_search_requests": 3},
        },
        CLAUDE,
        {"input": 10, "output": 5},
        id="searches are no tokens",
    ),
    pytest.param(
        {
            "prompt_token_count": 10,
            "candidates_token_count": 5,
            "total_token_count": 15,
            "candidates_tokens_details": [{"modality": "TEXT", "token_count": 5}],
        },
        GEMINI,
        {"input": 10, "output": 5},
        id="gemini by modality",
    ),
    pytest.param(
        {
            "prompt_tokens": 10,
            "completion_tokens": 9,
            "total_tokens": 19,
            "prompt_cache_hit_tokens": 4,
            "prompt_cache_miss_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
        "deepseek-reasoner",
        {"input": 6, "input_cached_tokens": 4, "output": 6, "output_reasoning_tokens": 3},
        id="deepseek names its cache twice",
    ),
    pytest.param(
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "cache_read_input_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        CLAUDE,
        {"input": 6, "input_cached_tokens": 4, "output": 5},
        id="litellm names its cache beside and counts it within",
    ),
    pytest.param({"prompt_tokens": 8, "total_tokens": 8}, "text-embedding-3-small", {"input": 8}, id="embedding"),
    pytest.param({"total_tokens": 8}, None, {"total": 8}, id="total only"),
    pytest.param(SimpleNamespace(input_tokens=3, output_tokens=2), None, {"input": 3, "output": 2}, id="object"),
]


@pytest.mark.parametrize(("report", "model", "expected"), REPORTS)
def test_a_report_becomes_buckets(report: Any, model: str | None, expected: dict[str, int]) -> None:
    """Each provider's numbers, in its own names, become the buckets that have a price, in the order of Langfuse."""
    assert usage_buckets(report, model) == expected


@pytest.mark.parametrize(("report", "model", "expected"), REPORTS)
def test_the_sum_is_the_same_for_every_model(report: Any, model: str | None, expected: dict[str, int]) -> None:
    """The model decides the buckets' names and never how many tokens there are; only buckets with a price are used."""
    for other in MODELS:
        buckets = usage_buckets(report, other)
        assert sum(buckets.values()) == sum(expected.values())
        priced = priced_buckets(other)
        if priced is not None and "total" not in buckets:
            assert buckets.keys() <= priced


@pytest.mark.parametrize(
    "report",
    [
        *(None, {}, "12", 7, []),
        *({"input_tokens": None}, {"input_tokens": -3}, {"input_tokens": "many"}, {"input_tokens": True}),
        *({"input_tokens": 1.5}, {"output_tokens": float("nan")}, {"total_tokens": float("inf")}, {"a": {"b": 1}}),
    ],
)
def test_what_is_no_report_has_no_buckets(report: Any) -> None:
    """An empty report, and numbers that are no token counts, have no bucket."""
    assert usage_buckets(report) == {}


def test_the_first_report_with_tokens_counts() -> None:
    """Empty places are passed over, later ones are not added."""
    reports: list[Any] = [None, {"finish_reason": "stop"}, langchain(3, 2), langchain(30, 20)]
    assert first_buckets(reports) == {"input": 3, "output": 2}
    assert first_buckets([None, {}]) == {}
    assert first_buckets([langchain(0, 0), None, langchain(3, 2)]) == {"input": 3, "output": 2}
    assert first_buckets([langchain(0, 0), {}]) == {"input": 0, "output": 0}


def test_usage_in_a_providers_names_is_turned_into_buckets() -> None:
    """What an application hands on as it got it counts once; buckets of its own, and Langfuse's, stay as they are."""
    assert in_buckets(openai(prompt_tokens=9, completion_tokens=4, total_tokens=13)) == {"input": 9, "output": 4}
    cached = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    assert in_buckets(cached, GPT) == {"input": 6, "input_cached_tokens": 3, "output": 4}
    for usage in (
        {"input": 9, "output": 4},
        {"input_tokens": 9, "images": 2},
        {"total": 3},
        {"input": 1, "prompt_tokens": 2},
    ):
        assert in_buckets(usage) is usage


def test_every_part_has_a_bucket_or_joins_one() -> None:
    """No kind of tokens is without a place, whatever the model."""
    details = {"cached_tokens": 1, "cache_creation": 1, "audio_tokens": 1, "ephemeral_1h_input_tokens": 1}
    report = {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18, "input_token_details": details}
    for model in MODELS:
        assert sum(usage_buckets(report, model).values()) == 18
    assert set(PARTS) >= {"cached", "written", "reasoning", "tools", "audio", "spoken"}


@pytest.mark.parametrize(
    ("model", "with_price", "without"),
    [
        ("gpt-4o-2024-05-13", {"input", "output"}, {"input_cached_tokens", "output_reasoning_tokens"}),
        ("gpt-4o-2024-08-06", {"input_cached_tokens"}, {"output_reasoning_tokens", "input_cache_creation"}),
        ("openai/gpt-4.1-mini", {"input_cached_tokens"}, {"output_reasoning_tokens"}),
        ("gpt-4-turbo", {"input"}, {"input_cached_tokens"}),
        ("gpt-35-turbo", {"input"}, {"input_cached_tokens"}),
        ("gpt-5-2025-08-07", {"output_reasoning_tokens", "input_cached_tokens"}, {"input_cache_creation"}),
        ("gpt-5.4-nano-2026-03-17", {"input_cached_tokens"}, {"output_reasoning_tokens"}),
        ("gpt-5.5-pro", {"output_reasoning_tokens"}, {"input_cached_tokens"}),
        ("gpt-5.6-luna", {"input_cache_creation", "output_reasoning_tokens"}, {"input_cache_creation_1h"}),
        ("gpt-7", {"input_cached_tokens"}, {"output_reasoning_tokens", "input_cache_creation"}),
        ("o4-mini", {"output_reasoning_tokens", "input_cached_tokens"}, {"input_cache_creation"}),
        ("o3-pro-2025-06-10", {"output_reasoning_tokens"}, {"input_cached_tokens"}),
        ("claude-3-haiku-20240307", {"input"}, {"input_cached_tokens"}),
        ("claude-3-5-haiku-20241022", {"input_cached_tokens", "input_cache_creation_1h"}, {"output_reasoning_tokens"}),
        ("eu.anthropic.claude-opus-4-5-20251101-v1:0", {"input_cache_creation_1h"}, {"output_reasoning_tokens"}),
        ("gemini-2.0-flash", {"input"}, {"input_cached_tokens", "output_reasoning"}),
        ("gemini-2.5-pro", {"output_reasoning", "input_cached_tokens"}, {"input_audio_tokens"}),
        ("google/gemini-2.5-flash-lite", {"input_audio_tokens"}, {"output_audio_tokens"}),
    ],
)
def test_prices_are_those_of_langfuse(model: str, with_price: set[str], without: set[str]) -> None:
    """What has a price by Langfuse 4.16's default prices, and what has none."""
    priced = priced_buckets(model)
    assert priced is not None
    assert with_price <= priced
    assert not without & priced


@pytest.mark.parametrize(
    "model", [None, "", "llama3", "mistral-large-latest", "deepseek-chat", "my-deployment", "audio1"]
)
def test_a_model_without_default_prices_is_unknown(model: str | None) -> None:
    """A model without default prices has no priced buckets, so its tokens keep every detail."""
    assert priced_buckets(model) is None


tokens = st.integers(0, 1000)
models = st.sampled_from(MODELS)


@given(st.tuples(tokens, tokens, tokens, tokens), tokens, tokens, tokens, models)
def test_parts_within_the_totals_add_up(
    into: tuple[int, int, int, int], fresh: int, thought: int, said: int, model: str | None
) -> None:
    """Whatever the details within the totals, no token is counted twice, none is lost and none is negative."""
    names = ("cache_read", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "audio")
    report = langchain(sum(into) + fresh, thought + said, dict(zip(names, into, strict=True)), {"reasoning": thought})
    buckets = usage_buckets(report, model)
    assert sum(buckets.values()) == report["total_tokens"]
    assert all(count >= 0 for count in buckets.values())


@given(tokens, tokens, tokens, tokens, tokens, models)
def test_parts_beside_the_totals_add_up(
    read: int, short: int, long: int, fresh: int, said: int, model: str | None
) -> None:
    """Anthropic's numbers, which count what is cached beside the input, add up, and each kind keeps its own."""
    report = {"input_tokens": fresh, "output_tokens": said, "cache_read_input_tokens": read}
    report["cache_creation_input_tokens"] = short + long
    nested = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    buckets = usage_buckets({**report, "cache_creation": nested}, model)
    assert sum(buckets.values()) == read + short + long + fresh + said
    if model == CLAUDE:
        names = ("input", "input_cached_tokens", "input_cache_creation", "input_cache_creation_1h", "output")
        assert [buckets.get(name, 0) for name in names] == [fresh, read, short, long, said]


@given(tokens, tokens, tokens, tokens, tokens, models)
def test_thoughts_beside_the_output_add_up(
    asked: int, cached: int, tools: int, thought: int, said: int, model: str | None
) -> None:
    """Gemini's numbers add up to its total: thoughts and the prompts of tools beside, what is cached within."""
    report = {
        "prompt_token_count": asked + cached,
        "cached_content_token_count": cached,
        "tool_use_prompt_token_count": tools,
        "candidates_token_count": said,
        "thoughts_token_count": thought,
        "total_token_count": asked + cached + tools + thought + said,
    }
    assert sum(usage_buckets(report, model).values()) == report["total_token_count"]


numbers = st.one_of(st.none(), st.integers(-5, 10**12), st.floats(), st.text(max_size=3), st.booleans())
details = st.dictionaries(
    st.sampled_from(["cache_read", "cached_tokens", "audio", "reasoning", "cache_creation"]), numbers
)
names = ["input_tokens", "prompt_tokens", "output_tokens", "eval_count", "total_tokens", "thoughts_token_count"]
names += ["cache_read_input_tokens", "cacheWriteInputTokens", "cached_content_token_count", "tokens"]


@given(st.dictionaries(st.sampled_from(names), numbers), details, details, models)
def test_nothing_in_a_report_breaks_it(report: Any, into: Any, out: Any, model: str | None) -> None:
    """Any values at all give whole numbers of 0 or more, and never less than input and output together."""
    report = {**report, "input_token_details": into, "output_tokens_details": out}
    buckets = usage_buckets(report, model)
    assert all(type(count) is int and count >= 0 for count in buckets.values())

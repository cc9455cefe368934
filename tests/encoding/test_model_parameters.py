"""Parameters of models: what affects the answer is recorded, and no secret is."""

from __future__ import annotations

from typing import Any

import pytest

from langfuse_integration.encoding.model_parameters import recorded_parameters
from langfuse_integration.internals.secrets import SECRET, names_a_secret, without_secrets

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.5, "max_tokens": 10, "stop": ["x"], "seed": 1, "service_tier": "flex"},
        {"topP": 0.5, "stopSequences": ["x"], "maxTokens": 10},
        {"reasoning": {"effort": "high"}, "thinking": {"type": "enabled", "budget_tokens": 100}},
        {"tool_choice": {"type": "function", "function": {"name": "search"}}, "parallel_tool_calls": False},
        {"inferenceConfig": {"temperature": 0.1}, "options": {"num_ctx": 2048, "mirostat": 1}},
    ],
)
def test_what_affects_the_answer_is_recorded(values: dict[str, Any]) -> None:
    """Parameters of OpenAI, Anthropic, Bedrock and Ollama stay as they are, in either spelling."""
    assert recorded_parameters(values) == values


@pytest.mark.parametrize(
    "values",
    [
        {"extra_headers": {"Authorization": KEY}},
        {"extra_query": {"code": KEY}},
        {"extra_body": {"api_key": KEY, "temperature": 1}},
        {"headers": {"x": KEY}, "default_headers": {"x": KEY}, "http_client": KEY},
        {"base_url": f"https://user:{KEY}@gateway", "openai_api_base": f"https://user:{KEY}@gateway"},
        {"api_key": KEY, "token": KEY, "aws_secret_access_key": KEY, "azure_ad_token": KEY},
        {"mcp_servers": [{"url": "https://x", "authorization_token": KEY}]},
        {"model_kwargs": {"extra_headers": {"x": KEY}}, "user": KEY, "metadata": {"x": KEY}},
    ],
)
def test_nothing_else_is(values: dict[str, Any]) -> None:
    """Headers, queries, bodies, keys and addresses leave no trace, wherever they stand."""
    assert KEY not in str(recorded_parameters({"temperature": 1, **values}))


def test_secrets_inside_of_a_parameter_are_replaced() -> None:
    """A search tool of a provider may carry a key: its other settings stay."""
    given = {"web_search_options": {"engine": "x", "api_key": KEY}, "stop": None}
    assert recorded_parameters(given) == {"web_search_options": {"engine": "x", "api_key": SECRET}}


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apikey",
        "openai_api_key",
        "x-api-key",
        "client_secret",
        "password",
        "authorization",
        "Authorization",
        "bearer_token",
        "authToken",
        "headers",
        "extra_headers",
        "defaultHeaders",
        "cookie",
        "token",
        "access_token",
        "private_key",
        "credentials",
    ],
)
def test_a_name_that_tells_a_secret(name: str) -> None:
    """In snake_case, camelCase and as a header."""
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "first_token_ms", "tokens", "author", "header_row", "key", "monkey", "topic", "total_tokens"]
)
def test_a_name_that_tells_none(name: str) -> None:
    """Counts of tokens, authors and keys of a mapping are no secrets."""
    assert not names_a_secret(name)


def test_a_schema_that_describes_a_secret_stays() -> None:
    """A tool with an argument `api_key` is described; a header with a key is replaced."""
    tool = {"parameters": {"properties": {"api_key": {"type": "string"}}}, "headers": {"x": KEY}, "retries": 2}
    assert without_secrets(tool) == {**tool, "headers": SECRET}

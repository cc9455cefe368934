"""Parameters of a model call that are recorded: those that affect the answer, by an allow-list.

Anything else that is passed to a model may be a secret: headers, queries, bodies for a gateway, keys, base URLs with
passwords. To record a new parameter, add its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from ..internals.secrets import without_secrets

RECORDED = frozenset((
    "temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs_z",
    "mirostat", "mirostat_eta", "mirostat_tau", "seed", "random_seed", "do_sample", "num_beams", "length_penalty",
    "early_stopping", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens",
    "max_tokens_to_sample", "max_length", "min_length", "min_tokens", "max_gen_len", "max_token_count",
    "num_predict", "num_ctx", "num_keep", "n", "best_of", "candidate_count", "num_generations",
    "num_return_sequences", "echo", "suffix", "stop", "stop_sequences", "stop_token_ids", "ignore_eos",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty", "repeat_last_n",
    "count_penalty", "logit_bias", "logprobs", "top_logprobs", "response_logprobs", "prompt_logprobs",
    "tool_choice", "tool_config", "parallel_tool_calls", "max_tool_calls", "function_call", "strict",
    "response_format", "response_schema", "response_json_schema", "response_mime_type", "response_modalities",
    "json_mode", "format", "text", "structured_output", "guided_json", "guided_choice", "guided_regex", "reasoning",
    "reasoning_effort", "reasoning_options", "reasoning_format", "reasoning_budget", "effort", "verbosity",
    "thinking", "thinking_dict", "thinking_budget", "thinking_config", "thinking_level", "include_thoughts",
    "include_reasoning", "think", "output_config", "context_management", "truncation", "include", "service_tier",
    "performance_config", "latency", "safe_prompt", "safety_settings", "safety_mode", "guardrail_config", "stream",
    "streaming", "stream_options", "stream_usage", "modalities", "audio", "voice", "media_resolution", "prediction",
    "web_search_options", "citation_options", "cache_control", "betas", "output_version", "dimensions",
    "encoding_format", "input_type", "task_type", "truncate", "keep_alive", "raw", "batch_size", "timeout",
    "request_timeout", "max_retries",
))  # fmt: skip
NESTED = frozenset((
    "model_kwargs", "additional_kwargs", "generate_kwargs", "generation_config", "generate_cfg", "options",
    "inference_config", "parameters", "additional_model_request_fields", "pipeline_kwargs",
    "default_request_options",
))  # fmt: skip
"""Entries with nested parameters, to which the same list applies."""


def recorded_parameters(values: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return the parameters that are recorded; those without a value are left out.

    Args:
        values: parameters by the provider's names, in snake_case or camelCase.
        depth: how deep *values* stand in others.
    """
    recorded: dict[str, Any] = {}
    for name, value in values.items():
        plain = _snake_case(str(name))
        if value is None:
            continue
        if plain in RECORDED:
            recorded[str(name)] = without_secrets(value)
        elif plain in NESTED and isinstance(value, Mapping) and depth < 3:
            inner = recorded_parameters(cast("Mapping[str, Any]", value), depth + 1)
            if inner:
                recorded[str(name)] = inner
    return recorded


@lru_cache(maxsize=1_000)
def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")

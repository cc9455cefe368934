"""What a model call tells about itself: one small reader per aspect.

To record something new, write a reader and list it. Names of usage buckets are those that Langfuse has prices for
(its default model prices of 2026); they are disjoint, since Langfuse adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from langfuse_integration.observation import Observation

MODEL_KEYS = ("model_name", "model", "model_id")
FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "status")
INPUT_BUCKETS = {
    "cache_read": "input_cached_tokens",
    "cache_creation": "input_cache_creation",
    "ephemeral_5m_input_tokens": "input_cache_creation",  # Anthropic's usual one, of the same price
    "ephemeral_1h_input_tokens": "input_cache_creation_1h",
    "audio": "input_audio_tokens",
}
OUTPUT_BUCKETS = {"reasoning": "output_reasoning_tokens", "audio": "output_audio_tokens"}
READ_ONLY = {"cache_read": "input_cached_tokens", "audio": "input_audio_tokens"}
FAMILIES: tuple[tuple[str, dict[str, str], dict[str, str]], ...] = (
    ("claude", INPUT_BUCKETS, {}),
    ("gemini", INPUT_BUCKETS, {**OUTPUT_BUCKETS, "reasoning": "output_reasoning"}),
    ("gpt", READ_ONLY, OUTPUT_BUCKETS),
)
"""Exceptions by what the model's name contains: what has no price of its own at Langfuse (reasoning of Claude, cache
writes of GPT) stays in the whole, or it would cost nothing; and Gemini's reasoning has another name."""
SERVICE_TIERS = ("priority_", "flex_")
"""OpenAI's, put before the names of the details by langchain-openai."""


class Answer:
    """A finished model call, as readers see it.

    Attributes:
        generations: the candidates of the one prompt; mostly one.
        message: the first candidate's message, or None for a model that is no chat model.
        said: the metadata of the answer: what the provider says about it.
        asked: LangChain's metadata of the call.
    """

    __slots__ = ("asked", "generations", "message", "result", "said")

    def __init__(self, result: LLMResult, asked: Mapping[str, Any]) -> None:
        self.result = result
        self.asked = asked
        self.generations: list[Any] = next((found for found in result.generations if found), [])
        first = self.generations[0] if self.generations else None
        self.message: Any = first.message if isinstance(first, ChatGeneration) else None
        self.said: Mapping[str, Any] = {}
        if self.message is not None:
            self.said = self.message.response_metadata or first.generation_info or {}
        elif isinstance(first, Generation):
            self.said = first.generation_info or {}

    @property
    def output(self) -> Any:
        """What was answered: a message, a text, or a list of candidates."""
        candidates = [
            found.message if isinstance(found, ChatGeneration) else found.text for found in self.generations
        ]
        return candidates[0] if len(candidates) == 1 else candidates or None

    @property
    def partial(self) -> Any:
        """What had been said when an error came, or None: LangChain puts an empty message in the place of nothing."""
        message = self.message
        said = message is None or message.content or getattr(message, "tool_calls", None)
        return self.output if said else None

    @property
    def tool_calls(self) -> list[Any]:
        """The tool calls asked for, with those whose arguments could not be read."""
        calls: list[Any] = []
        for found in self.generations:
            message = getattr(found, "message", None)
            calls += getattr(message, "tool_calls", None) or ()
            calls += getattr(message, "invalid_tool_calls", None) or ()
        return calls


def read(observation: Observation, answer: Answer) -> None:
    """Note everything that the readers find."""
    for reader in READERS:
        reader(observation, answer)


def asked_model(metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the model that is asked for."""
    found = metadata.get("ls_model_name") or _first(parameters, MODEL_KEYS)
    return found if isinstance(found, str) else None


def _model(observation: Observation, answer: Answer) -> None:
    found = _first(answer.said, MODEL_KEYS) or _first(answer.result.llm_output or {}, MODEL_KEYS)
    if isinstance(found, str):
        observation.model = found


def _usage(observation: Observation, answer: Answer) -> None:
    usage: Any = None
    for found in answer.generations:
        message = getattr(found, "message", None)
        usage = getattr(message, "usage_metadata", None) or usage
    if usage is None:
        observation.usage_details = _told(answer.result.llm_output or {})
        return
    observation.usage_details = buckets(usage, observation.model)
    if usage.get("total_cost") == 0:  # LangChain's only mark of an answer from its own cache
        observation.cost_details = {"total": 0.0}
        observation.add_metadata({"cache_hit": True})


def _finish(observation: Observation, answer: Answer) -> None:
    reason = _first(answer.said, FINISH_KEYS)
    if reason is None and answer.generations:
        reason = _first(answer.generations[0].generation_info or {}, FINISH_KEYS)
    if reason is not None:
        metadata = observation.metadata
        observation.metadata = {**metadata, "finish_reason": reason} if metadata else {"finish_reason": reason}


READERS = (_model, _usage, _finish)


def buckets(usage: Mapping[str, Any], model: str | None = None) -> dict[str, int]:
    """Return LangChain's usage metadata, where details are parts of the totals, as disjoint buckets.

    What has no bucket of its own stays in `input` or `output`, where it is priced.
    """
    into, out = INPUT_BUCKETS, OUTPUT_BUCKETS
    for mark, family_into, family_out in FAMILIES:
        if model is not None and mark in model:
            into, out = family_into, family_out
    found = {"input": usage.get("input_tokens") or 0}
    _part(found, "input", usage.get("input_token_details"), into)
    found["output"] = usage.get("output_tokens") or 0
    _part(found, "output", usage.get("output_token_details"), out)
    return found


def _part(found: dict[str, int], whole: str, details: Mapping[str, Any] | None, names: Mapping[str, str]) -> None:
    for key, count in (details or {}).items():
        for tier in SERVICE_TIERS:
            key = key.removeprefix(tier)
        bucket = names.get(key)
        if bucket and count:
            found[bucket] = found.get(bucket, 0) + count
            found[whole] = max(found[whole] - count, 0)


def _told(output: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the usage that an older model reports beside its answer."""
    usage = output.get("token_usage") or output.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = {
        "input": _first(usage, ("prompt_tokens", "input_tokens")),
        "output": _first(usage, ("completion_tokens", "output_tokens")),
    }
    return {key: count for key, count in counts.items() if isinstance(count, int)} or None


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        found = values.get(key)
        if found:
            return found
    return None

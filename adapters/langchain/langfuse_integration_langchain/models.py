"""Model, parameters, usage and finish reason of a model call: one small reader per aspect.

To record something new, write a reader and list it. Names of usage buckets are those that Langfuse has prices for
(its default model prices of 2026); they are disjoint, since Langfuse adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run

from .notes import RunNotes

NOT_PARAMETERS = frozenset({"model", "model_name", "model_id", "_type", "tools", "functions", "messages", "responses"})
"""Entries among the parameters that have a place of their own, or none."""
MODEL_KEYS = ("model_name", "model", "model_id")
FINISH_KEYS = ("finish_reason", "stop_reason", "done_reason", "status")
INPUT_BUCKETS = {
    "cache_read": "input_cached_tokens",
    "cache_creation": "input_cache_creation",
    "ephemeral_5m_input_tokens": "input_cache_creation",  # Anthropic's usual one, of the same price
    "ephemeral_1h_input_tokens": "input_cache_creation_1h",
    "audio": "input_audio_tokens",
}
EPHEMERAL = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
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


class ModelCall(RunNotes):
    """Parameters and answer of a model call, from which its row is completed."""

    __slots__ = ("answer", "parameters")

    def __init__(
        self, metadata: dict[str, Any], tags: list[str] | None, parent: Run | None, parameters: dict[str, Any]
    ) -> None:
        super().__init__(metadata, tags, parent)
        self.parameters = parameters
        self.answer: ModelAnswer | None = None

    def __call__(self, observation: Observation) -> None:
        """Fill in the model, the parameters and what the readers find in the answer."""
        super().__call__(observation)
        observation.model = asked_model(self.metadata, self.parameters)
        observation.model_parameters = {
            key: value for key, value in self.parameters.items() if value is not None and key not in NOT_PARAMETERS
        }
        if self.answer is not None:
            read(observation, self.answer)


class ModelAnswer:
    """The answer of a model call, as the readers take it.

    Attributes:
        generations: the candidates of the one prompt; mostly one.
        message: the first candidate's message, or None for a model that is no chat model.
        usage: LangChain's usage metadata when the call ended: its cache changes the same message when it is used again.
    """

    __slots__ = ("generations", "message", "result", "usage")

    def __init__(self, result: LLMResult) -> None:
        self.result = result
        self.generations: list[Any] = []
        for candidates in result.generations:
            if candidates:
                self.generations = candidates
                break
        first: Any = self.generations[0] if self.generations else None
        self.message: Any = first.message if isinstance(first, ChatGeneration) else None
        self.usage: Any = self.message.usage_metadata if isinstance(self.message, AIMessage) else None
        for generation in self.generations[1:] if self.usage is None else ():
            self.usage = getattr(getattr(generation, "message", None), "usage_metadata", None) or self.usage

    @property
    def response_metadata(self) -> Mapping[str, Any]:
        """What the provider reports beside the answer."""
        if self.message is not None and self.message.response_metadata:
            metadata: Mapping[str, Any] = self.message.response_metadata
            return metadata
        return (self.generations[0].generation_info if self.generations else None) or {}

    @property
    def output(self) -> Any:
        """The answer: a message, a text, or a list of candidates."""
        if len(self.generations) == 1:
            return self.generations[0].text if self.message is None else self.message
        candidates = [each.message if isinstance(each, ChatGeneration) else each.text for each in self.generations]
        return candidates or None

    @property
    def partial(self) -> Any:
        """The part of the answer that came before an error, or None; LangChain may pass an empty message for none."""
        message = self.message
        filled = message is None or message.content or getattr(message, "tool_calls", None)
        return self.output if filled else None

    @property
    def tool_calls(self) -> list[Any]:
        """The tool calls in the answer, including those whose arguments LangChain could not read."""
        calls: list[Any] = []
        for generation in self.generations:
            message = generation.message if isinstance(generation, ChatGeneration) else None
            if isinstance(message, AIMessage):
                calls += message.tool_calls
                calls += message.invalid_tool_calls
        return calls


def read(observation: Observation, answer: ModelAnswer) -> None:
    """Write everything that the readers find into *observation*."""
    for reader in READERS:
        reader(observation, answer)


def asked_model(metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the model that is asked for."""
    model = metadata.get("ls_model_name") or _first(parameters, MODEL_KEYS)
    return model if isinstance(model, str) else None


def _model(observation: Observation, answer: ModelAnswer) -> None:
    model = _first(answer.response_metadata, MODEL_KEYS) or _first(answer.result.llm_output or {}, MODEL_KEYS)
    if isinstance(model, str):
        observation.model = model


def _usage(observation: Observation, answer: ModelAnswer) -> None:
    usage = answer.usage
    if usage is None:
        observation.usage_details = _told(answer.result.llm_output or {})
        return
    observation.usage_details = buckets(usage, observation.model)
    if usage.get("total_cost") == 0:  # LangChain's only mark of an answer from its own cache
        observation.cost_details = {"total": 0.0}
        observation.metadata = {**(observation.metadata or {}), "cache_hit": True}


def _finish(observation: Observation, answer: ModelAnswer) -> None:
    reason = _first(answer.response_metadata, FINISH_KEYS)
    if reason is None and answer.generations:
        reason = _first(answer.generations[0].generation_info or {}, FINISH_KEYS)
    if reason is not None:
        observation.metadata = {**(observation.metadata or {}), "finish_reason": reason}


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
    if not details:
        return
    written = sum(details.get(key) or 0 for key in EPHEMERAL)
    if written and details.get("cache_creation"):  # langchain-anthropic before 1.1 counts them there, too
        details = {**details, "cache_creation": max(details["cache_creation"] - written, 0)}
    for key, count in details.items():
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
        value = values.get(key)
        if value:
            return value
    return None

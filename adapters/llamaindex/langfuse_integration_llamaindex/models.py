"""The model, parameters and tokens of a model call, one reader per aspect.

The raw answer is whatever the provider's client returned: an object, a dict, a text or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from langfuse_integration.encoding.model_parameters import recorded_parameters
from langfuse_integration.encoding.usage import first_buckets
from langfuse_integration.recording.beside import note_beside
from langfuse_integration.recording.observation import Observation

PARAMETERS = (
    "temperature", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "num_predict", "top_p",
    "top_k", "frequency_penalty", "presence_penalty", "seed", "stop", "stop_sequences", "reasoning_effort",
    "reasoning_options", "thinking_dict", "thinking_config", "service_tier", "json_mode", "logprobs",
    "generate_kwargs", "generation_config", "additional_kwargs",
)  # fmt: skip
"""Attributes of a model object that are recorded: settings of generation, never addresses, keys or headers."""
NESTED = ("additional_kwargs", "generate_kwargs", "generation_config", "model_kwargs")
NO_PARAMETERS = frozenset(
    ("messages", "tools", "formatted", "prompt", "extra_headers", "headers", "api_key", "timeout")
)
UNKNOWN = frozenset({"", "unknown"})
PACKAGE = 2
"""The place of the package in `llama_index.llms.openai.base`."""


class Lazy(Mapping[str, Any]):
    """A mapping that is made at its first use, on the worker."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make: Callable[[], dict[str, Any]] | None = make
        self._made: dict[str, Any] = {}

    def _entries(self) -> dict[str, Any]:
        make, self._make = self._make, None
        if make is not None:
            self._made = make()
        return self._made

    def __getitem__(self, key: str) -> Any:
        return self._entries()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())


def get(value: Any, *keys: str) -> Any:
    """Return the first of the entries or attributes *keys* that *value* has and that is not None."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return None
    is_mapping = type(value) is dict or isinstance(value, Mapping)
    for key in keys:
        entry = value.get(key) if is_mapping else getattr(value, key, None)
        if entry is not None:
            return entry
    return None


# -- the model


def asked_model(instance: Any, described: Any = None) -> str | None:
    """Return the name of the requested model.

    Args:
        instance: the model object.
        described: LlamaIndex's description of it (`model_dict`), or None.
    """
    for name in (get(described, "model_name", "model"), get(instance, "model", "model_name", "model_id")):
        if isinstance(name, str) and name not in UNKNOWN:
            return name
    try:
        name = instance.metadata.model_name  # newer releases put it into their description themselves
    except Exception:  # noqa: BLE001  theirs, which may not know the model
        return None
    return name if isinstance(name, str) and name not in UNKNOWN else None


COMPATIBLE = frozenset({"openai_like", "litellm", "langchain", "custom", "mock", "huggingface", "llama_cpp", "vllm"})
"""Packages whose clients talk to servers of many providers, or run the model themselves."""
LANGCHAINS_NAMES = {"gemini": "google_genai", "vertex": "google_vertexai"}
"""What LangChain calls the providers of packages that have another name."""


def note_provider(observation: Observation, instance: Any) -> None:
    """Note who serves a model, for destinations beside Langfuse: the package that defines its class is named so."""
    for kind in type(instance).__mro__:
        parts = kind.__module__.split(".")
        if len(parts) > PACKAGE and parts[0] == "llama_index" and parts[1] in ("llms", "embeddings"):
            package = parts[PACKAGE]
            if package not in COMPATIBLE:
                note_beside(observation.span, {"ls_provider": LANGCHAINS_NAMES.get(package, package)})
            return


def inside_event(raw: Any) -> Any:
    """Return the response inside an event of a stream: OpenAI's and Cohere's `response`, Mistral's `data`."""
    return get(raw, "response", "data")


def answering_model(answers: Iterable[Any]) -> str | None:
    """Return the name of the model that answered, from the provider's response; None without one."""
    for answer in answers:
        raw = getattr(answer, "raw", None)
        if raw is None:
            continue
        name = get(raw, "model")
        if not isinstance(name, str):
            name = get(inside_event(raw), "model")
        if isinstance(name, str) and name not in UNKNOWN:
            return name
    return None


# -- the parameters


def parameters_of(instance: Any, options: Mapping[str, Any] | None) -> Lazy:
    """Return how the model was set, and the options of the call; read when they are written.

    Args:
        instance: the model object; its settings are taken as they are when the row is written.
        options: what was passed with the call.
    """
    return Lazy(lambda: recorded_parameters(dict(_parameters(instance, options or {}))))


def _parameters(instance: Any, options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in PARAMETERS:
        value = getattr(instance, name, None)
        if name in NESTED:
            yield from _simple(value)
        elif _plain(value):
            yield name, value
    yield from _simple(options)


def _simple(options: Any) -> Iterator[tuple[str, Any]]:
    for name, value in options.items() if isinstance(options, Mapping) else ():
        if name not in NO_PARAMETERS and _plain(value):
            yield str(name), value


def _plain(value: Any) -> bool:
    if value is None or value == {}:
        return False
    if isinstance(value, Mapping):
        return all(_plain(inner) or inner is None for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_plain(inner) for inner in value)
    return isinstance(value, (str, int, float, bool))


# -- the tokens


def usage_of(answers: Iterable[Any], model: str | None) -> Lazy:
    """Return the tokens of the first answer that tells of any, in disjoint buckets; read when they are written.

    Args:
        answers: LlamaIndex's responses.
        model: the name of the model that answered.
    """
    return Lazy(lambda: dict(first_buckets((report for answer in answers for report in _reports(answer)), model)))


def _reports(response: Any) -> Iterator[Any]:
    """Yield the places where integrations keep the tokens, the provider's own report first."""
    raw = get(response, "raw")
    extra = get(response, "additional_kwargs")
    yield get(raw, "usage", "usage_metadata", "usageMetadata")
    inside = inside_event(raw)
    yield get(inside, "usage")
    yield get(raw, "meta")
    yield get(inside, "meta")
    yield get(extra, "usage")
    yield get(get(get(response, "message"), "additional_kwargs"), "usage")
    yield extra
    yield raw

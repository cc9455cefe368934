"""The model, parameters and tokens of a model call, one reader per aspect.

The raw answer is whatever the provider's client returned: an object, a dict, a text or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from langfuse_integration.encoding.model_parameters import recorded_parameters
from langfuse_integration.encoding.usage import first_buckets
from langfuse_integration.internals.bounded import shrink
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
NAMES = ("model", "model_name", "model_id")
"""Attributes of a model object that may have its name."""
UNKNOWN = frozenset({"", "unknown"})
PACKAGE = 2
"""The place of the package in `llama_index.llms.openai.base`."""


class Parameters(Mapping[str, Any]):
    """How a model was set, and the options of the call; read at the first use, on the worker.

    Args:
        instance: the model object; its settings are taken as they are when the row is written.
        options: what was passed with the call.
    """

    __slots__ = ("_made", "_source")

    def __init__(self, instance: Any, options: Mapping[str, Any] | None) -> None:
        self._source: tuple[Any, Mapping[str, Any] | None] | None = (instance, options)
        self._made: dict[str, Any] = {}

    def _entries(self) -> dict[str, Any]:
        source, self._source = self._source, None
        if source is not None:
            instance, options = source
            self._made = recorded_parameters(dict(_parameters(instance, options or {})))
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
    name: Any = None
    if type(described) is dict:
        name = described.get("model_name")
        if name is None:
            name = described.get("model")
        if isinstance(name, str) and name not in UNKNOWN:
            return name
    fields: dict[str, Any] = getattr(instance, "__dict__", {})
    lacking = _lacking.get(type(instance))
    if lacking is None:
        lacking = _note_lacking(type(instance))
    for key in NAMES:
        name = fields.get(key) if key in lacking else getattr(instance, key, None)
        if name is not None:
            break
    if isinstance(name, str) and name not in UNKNOWN:
        return name
    if "metadata" in lacking and "metadata" not in fields:
        return None
    try:
        name = instance.metadata.model_name  # newer releases put it into their description themselves
    except Exception:  # noqa: BLE001  theirs, which may not know the model
        return None
    return name if isinstance(name, str) and name not in UNKNOWN else None


def _note_lacking(kind: type) -> frozenset[str]:
    """Return what objects of a class have at most in their `__dict__`, and keep it in `_lacking`."""
    names = [name for name in (*NAMES, "metadata") if not hasattr(kind, name)]
    is_plain = all(getattr(kind, name, kind) is getattr(BaseModel, name, None) for name in LOOK_UPS)
    is_closed = is_plain and getattr(kind, "model_config", {}).get("extra") != "allow"
    _lacking[kind] = lacking = frozenset(names if is_closed else ())
    if len(_lacking) > KINDS_LIMIT:  # classes made on the fly
        shrink(_lacking, KINDS_LIMIT)
    return lacking


_lacking: dict[type, frozenset[str]] = {}
"""By a class of pydantic: to ask one of its objects for an attribute that is not there takes several calls."""
KINDS_LIMIT = 1_000
LOOK_UPS = ("__getattr__", "__getattribute__")


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
        raw = get(answer, "raw")
        if raw is None:
            continue
        name = get(raw, "model")
        if not isinstance(name, str):
            name = get(inside_event(raw), "model")
        if isinstance(name, str) and name not in UNKNOWN:
            return name
    return None


# -- the parameters


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


def usage_of(answers: Iterable[Any], model: str | None) -> dict[str, int]:
    """Return the tokens of the first answer that tells of any, in disjoint buckets.

    Args:
        answers: LlamaIndex's responses, or their fields.
        model: the name of the model that answered.
    """
    return dict(first_buckets((report for answer in answers for report in _reports(answer)), model))


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
    yield _report_of_titan(raw)
    yield raw


def _report_of_titan(raw: Any) -> Any:
    """Return the tokens in an answer of Amazon Titan, which counts those of the output beside each text; else None."""
    results = get(raw, "results")
    counts = [get(result, "tokenCount") for result in results] if isinstance(results, list) else []
    if not counts or not all(isinstance(count, int) for count in counts):
        return None
    return {"inputTextTokenCount": get(raw, "inputTextTokenCount"), "totalOutputTextTokenCount": sum(counts)}

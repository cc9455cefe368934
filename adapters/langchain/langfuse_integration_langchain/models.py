"""Model, parameters, usage, finish reason and response id of a model call: one small reader per aspect.

To record something new, write a reader and list it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langfuse_integration.encoding.model_parameters import recorded_parameters
from langfuse_integration.encoding.usage import first_buckets
from langfuse_integration.recording.noted_messages import is_same
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.snapshot import snapshot

from .exact import answer_form
from .kept import fields_of
from .notes import Notes

MODEL_KEYS = ("model_name", "model", "model_id")
FINISH_KEYS = ("finish_reason", "stop_reason", "stopReason", "finishReason", "done_reason", "status")
ID_KEYS = ("response_id", "responseId", "id")
LANGCHAINS_IDS = ("lc_", "run-")
"""How ids begin that LangChain gives to messages for which the provider has none."""
_CHANGEABLE = ("additional_kwargs", "response_metadata", "content", "tool_calls")
"""Fields of an answer that applications change in place."""
_ADDED = ("name", "id")
USAGE_KEYS = ("usage", "usage_metadata", "token_usage", "token_count", "amazon-bedrock-invocationMetrics")
"""Where integrations put the provider's report: in an answer's metadata, beside a generation, or in `llm_output`."""


class ModelCall:
    """Parameters and answer of a model call, from which its row is completed.

    Args:
        notes: puts the run's metadata and tags into the row.

    Attributes:
        parts: the streamed chunks, or None.
        failure: the exact form of the exception that ended the call, or None.
    """

    __slots__ = ("answer", "failure", "metadata", "notes", "parameters", "parts")

    def __init__(self, metadata: dict[str, Any], notes: Notes, parameters: dict[str, Any]) -> None:
        self.metadata = metadata
        self.notes = notes
        self.parameters = parameters
        self.answer: ModelAnswer | None = None
        self.parts: list[Any] | None = None
        self.failure: dict[str, Any] | None = None

    def __call__(self, observation: Observation) -> None:
        """Write the model, the parameters and the readers' attributes into the row."""
        self.notes(observation)
        observation.model = observation.asked_model = asked_model(self.metadata, self.parameters)
        observation.model_parameters = parameters = recorded_parameters(self.parameters)
        if observation.first_token_ns and parameters.get("stream") is False:
            parameters["stream"] = True  # clients announce the setting that `stream()` overrides
        if self.answer is not None:
            if self.answer.restore(observation.output):
                observation.output = self.answer.output
            read(observation, self.answer)
        if self.answer is not None or self.failure is not None:
            observation.exact = self.exact

    @property
    def asked(self) -> dict[str, Any]:
        """The model and the parameters that are asked for."""
        asked = {"model": asked_model(self.metadata, self.parameters)}
        return {**asked, "parameters": recorded_parameters(self.parameters)}

    def exact(self) -> dict[str, Any]:
        """Return the exact form of the answer, with the model and the parameters that were asked for."""
        answer = self.answer
        generations, report = (answer.generations, answer.result.llm_output) if answer is not None else ((), None)
        return {**answer_form(generations, report, self.parts, self.failure), "asked": self.asked}


class ModelAnswer:
    """The answer of a model call, as the readers take it.

    Attributes:
        generations: the candidates of the one prompt; mostly one.
        message: the first candidate's message, or None for a model that is no chat model.
        messages: those of all candidates: a cache that is used again puts others into the same candidates.
        noted: its fields when the call ended: the application may change the message that it gets.
        output: the answer: a message, a text, or a list of candidates.
        tool_calls: those in the answer, including those whose arguments LangChain could not read.
        usage: LangChain's usage metadata when the call ended: its cache changes the same message when it is used again.
    """

    __slots__ = ("generations", "message", "messages", "noted", "output", "result", "tool_calls", "usage")

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
        self.messages: list[Any] = [self.message]
        further: list[Any] = self.generations[1:] if self.message is not None else []
        for generation in further:
            self.messages.append(generation.message)
        self.noted: dict[str, Any] = fields_of([self.message])[0] if self.message is not None else {}
        self.tool_calls: tuple[Any, ...] = ()
        for message in self.messages:
            if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
                self.tool_calls = (*self.tool_calls, *message.tool_calls, *message.invalid_tool_calls)
        self.output: Any
        if len(self.generations) == 1:
            self.output = first.text if self.message is None else self.message
        else:
            texts = [each.message if isinstance(each, ChatGeneration) else each.text for each in self.generations]
            self.output = snapshot(texts) if texts else None

    def restore(self, output: Any) -> bool:
        """Take a copy of the message as it was, where the application has changed it since; return whether it has.

        Args:
            output: of the row; where that is another object, nothing is to be restored.
        """
        message = self.message
        if message is None:
            return False
        is_other = output is message and not _is_same(message.__dict__, self.noted)
        if is_other:
            self.output = self.message = self.messages[0] = message.model_copy()
            self.message.__dict__.clear()
            self.message.__dict__.update(self.noted)
        self.generations = [
            each if each.message is kept else each.model_copy(update={"message": kept})
            for each, kept in zip(self.generations, self.messages, strict=True)
        ]
        return is_other

    @property
    def response_metadata(self) -> Mapping[str, Any]:
        """The provider's report beside the answer."""
        if self.message is not None and self.message.response_metadata:
            metadata: Mapping[str, Any] = self.message.response_metadata
            return metadata
        return (self.generations[0].generation_info if self.generations else None) or {}

    def usage_reports(self) -> Iterator[Any]:
        """Yield possible token reports, LangChain's own form first, which all chat models should give."""
        yield self.usage
        places: list[Any] = [
            self.response_metadata,
            *(one.generation_info for one in self.generations),
            self.result.llm_output,
        ]
        for place in places:
            for key in USAGE_KEYS if isinstance(place, Mapping) else ():
                yield place.get(key)
        yield self.response_metadata  # Ollama's numbers are top-level entries

    @property
    def partial(self) -> Any:
        """The part of the answer that came before an error, or None; LangChain may pass an empty message for none."""
        message = self.message
        filled = message is None or message.content or getattr(message, "tool_calls", None)
        return self.output if filled else None


def _is_same(fields: dict[str, Any], noted: dict[str, Any]) -> bool:
    """Return whether a message is as it was, but for its name and id: agents add them, and histories repeat them."""
    return is_same(fields, noted) or (
        len(fields) == len(noted)
        and all(
            fields.get(name) is value or name in _ADDED or (name in _CHANGEABLE and fields.get(name) == value)
            for name, value in noted.items()
        )
    )


def read(observation: Observation, answer: ModelAnswer) -> None:
    """Write the attributes of all readers into *observation*."""
    for reader in READERS:
        reader(observation, answer)


def asked_model(metadata: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """Return the name of the requested model."""
    model = metadata.get("ls_model_name") or _first(parameters, MODEL_KEYS)
    return model if isinstance(model, str) else None


def _model(observation: Observation, answer: ModelAnswer) -> None:
    model = _first(answer.response_metadata, MODEL_KEYS) or _first(answer.result.llm_output or {}, MODEL_KEYS)
    if isinstance(model, str):
        observation.model = model


def _usage(observation: Observation, answer: ModelAnswer) -> None:
    observation.usage_details = first_buckets(answer.usage_reports(), observation.model) or None
    if isinstance(answer.usage, Mapping) and answer.usage.get("total_cost") == 0:
        # LangChain's only mark of an answer from its own cache
        observation.cost_details = {"total": 0.0}
        observation.metadata = {**(observation.metadata or {}), "cache_hit": True}


def _finish(observation: Observation, answer: ModelAnswer) -> None:
    reason = _first(answer.response_metadata, FINISH_KEYS)
    if reason is None and answer.generations:
        reason = _first(answer.generations[0].generation_info or {}, FINISH_KEYS)
    if reason is not None:
        observation.metadata = {**(observation.metadata or {}), "finish_reason": reason}


def _response_id(observation: Observation, answer: ModelAnswer) -> None:
    report = answer.response_metadata
    identity = _first(report, ID_KEYS) or _first(answer.result.llm_output or {}, ID_KEYS)
    if identity is None and isinstance(report.get("ResponseMetadata"), Mapping):  # Bedrock
        identity = report["ResponseMetadata"].get("RequestId")
    own = getattr(answer.message, "id", None)
    if identity is None and isinstance(own, str) and not own.startswith(LANGCHAINS_IDS):
        identity = own
    if isinstance(identity, str):
        observation.metadata = {**(observation.metadata or {}), "response_id": identity}


READERS = (_model, _usage, _finish, _response_id)


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = values.get(key)
        if value:
            return value
    return None

"""What the readers of conventions read: a row as it was sent, with its messages, tokens and tools as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from ...internals.lazy import lazy
from ..fields import NOT_CAPTURED
from ..messages import ChatMessage, messages_in
from ..observed import Observed

Pair = tuple[str, Any]
TOOL_CALL = "tools/call"
"""The method by which MCP calls a tool."""
MODEL_CALLS = frozenset({"generation", "embedding"})
CACHED = ("input_cached_tokens", "input_cached_text_tokens", "input_cached_audio_tokens", "cache_read_input_tokens")
WRITTEN = ("input_cache_creation", "input_cache_creation_1h", "cache_creation_input_tokens")
REASONING = ("output_reasoning_tokens", "output_reasoning")


class Tokens(NamedTuple):
    """Tokens of a model call: input and output are wholes, the others parts of them. None where nothing is known."""

    input: int | None
    output: int | None
    cached: int | None
    written: int | None
    reasoning: int | None
    input_audio: int | None
    output_audio: int | None


class ToolDefinition(NamedTuple):
    """A tool that a model may call; the schema is that of its arguments."""

    name: str
    description: str | None
    schema: Any
    plain: Mapping[str, Any]


class TranslatedRow(Observed):
    """A row that is on its way to another server; see Observed for its attributes.

    Attributes:
        asked_model: the model that was asked for; `model` may be another one, which answered.
        beside: attributes that Langfuse does not get; `ls_provider` is none of a convention.
    """

    asked_model: str | None = None
    beside: Mapping[str, str] = MappingProxyType({})

    @lazy
    def content_in(self) -> Any:
        """The input as a value; None where it is not captured."""
        return None if self._get("input") == NOT_CAPTURED else self.input

    @lazy
    def content_out(self) -> Any:
        """The output as a value; None where it is not captured, or where an error stands in its place."""
        return None if self._get("output") == NOT_CAPTURED else self.output

    @property
    def input_text(self) -> str | None:
        """The input as text; None where it is not captured."""
        text = self._get("input")
        return None if text in (None, NOT_CAPTURED) else str(text)

    @property
    def output_text(self) -> str | None:
        """The output as text; None where it is not captured."""
        text = self._get("output")
        return None if text in (None, NOT_CAPTURED) else str(text)

    @lazy
    def messages_in(self) -> list[ChatMessage]:
        """The messages that a model was given; a text is one of the user's."""
        return _messages(self.content_in, "user")

    @lazy
    def messages_out(self) -> list[ChatMessage]:
        """The messages that a model answered; a text is one of the assistant's."""
        return _messages(self.content_out, "assistant")

    @lazy
    def tools(self) -> list[ToolDefinition]:
        """The tools that a model was offered."""
        content = self.content_in
        listed = cast("Mapping[str, Any]", content).get("tools") if isinstance(content, Mapping) else None
        entries: list[Any] = listed if isinstance(listed, list) else []
        return [tool for entry in entries if (tool := _tool(entry)) is not None]

    @lazy
    def tokens(self) -> Tokens:
        """The tokens of a model call."""
        usage = {name: count for name, count in self.usage.items() if isinstance(count, (int, float))}

        def of(side: str) -> int | None:
            counts = [count for name, count in usage.items() if name == side or name.startswith(side + "_")]
            return int(sum(counts)) if counts else None

        def part(names: Iterable[str]) -> int | None:
            counts = [usage[name] for name in names if name in usage]
            return int(sum(counts)) if counts else None

        return Tokens(
            of("input"),
            of("output"),
            part(CACHED),
            part(WRITTEN),
            part(REASONING),
            part(("input_audio_tokens", "input_audio")),
            part(("output_audio_tokens", "output_audio")),
        )

    def parameter(self, *names: str) -> Any:
        """Return the first parameter of the model that has one of these names, also where it stands in another."""
        return _nested(self.model_parameters, names)

    @property
    def is_model_call(self) -> bool:
        """Whether a model was called."""
        return self.type in MODEL_CALLS

    @property
    def is_tool_call(self) -> bool:
        """Whether a tool was called; other requests to MCP servers are rows of the same type."""
        return self.type == "tool" and self.metadata.get("mcp_method", TOOL_CALL) == TOOL_CALL

    @property
    def own_name(self) -> str | None:
        """The row's name; None where names are not captured, so that its type stands in its place."""
        return None if self.name == self.type else self.name

    @property
    def tool_name(self) -> str | None:
        """The tool that was called, without the server that it belongs to."""
        if self.metadata.get("mcp_method"):
            name = self.metadata.get("mcp_tool")
            return str(name) if name else None
        return self.own_name

    @property
    def agent_name(self) -> str | None:
        """The agent's name: its own, or that of the agent whose step the row is."""
        if self.type == "agent" and "step_type" not in self.metadata:
            return self.own_name
        name = self.metadata.get("agent_name")
        return str(name) if name else None

    @property
    def provider(self) -> str | None:
        """Who serves the model, by LangChain's name for it; None where nobody says so."""
        provider = self.metadata.get("ls_provider") or self.beside.get("ls_provider")
        return str(provider) if provider else None

    @property
    def failure(self) -> str | None:
        """What went wrong, or None."""
        return self.status_message if self.level == "ERROR" else None


Reader = Callable[[TranslatedRow], Iterable[Pair]]
"""Yields attributes with their values; those that are None are left out."""


def to_json(value: Any) -> str:
    """Return *value* as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _messages(content: Any, role: str) -> list[ChatMessage]:
    if content is None:
        return []
    messages = messages_in(content)
    if messages:
        return messages
    if isinstance(content, str):
        return [ChatMessage(role, content)]
    return [ChatMessage(role, to_json(content))]


def _tool(entry: Any) -> ToolDefinition | None:
    if not isinstance(entry, Mapping):
        return None
    plain = cast("Mapping[str, Any]", entry)
    function = plain.get("function")
    inner = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else plain
    name = inner.get("name")
    if not isinstance(name, str):
        return None
    schema = next((inner[key] for key in ("parameters", "input_schema", "inputSchema") if key in inner), None)
    description = inner.get("description")
    return ToolDefinition(name, description if isinstance(description, str) else None, schema, plain)


def _nested(parameters: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if parameters.get(name) is not None:
            return parameters[name]
    for value in parameters.values():
        if isinstance(value, Mapping):
            nested = _nested(cast("Mapping[str, Any]", value), names)
            if nested is not None:
                return nested
    return None

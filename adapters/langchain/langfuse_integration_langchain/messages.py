"""Readable forms of LangChain's objects: messages as chat, documents as text, and never a `repr`.

Everything here runs when a row is written, on the worker's thread. Roles and the form of tool calls are those of
OpenAI's chat completions, which Langfuse (server 4.16) shows as a conversation; its own reader of tool calls takes
LangChain's flat form (`name`, `args`, `id`) as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompt_values import PromptValue

from langfuse_integration.encoding import json_text
from langfuse_integration.internals.secrets import without_secrets
from langfuse_integration.recording.noted_messages import History, NotedMessage, keepers
from langfuse_integration.recording.snapshot import ATOMS, CONTAINERS

from .kept import DOCUMENTS, MESSAGES
from .models import FINISH_KEYS, ID_KEYS, MODEL_KEYS, USAGE_KEYS
from .private import COMMAND

ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}
BESIDE_CONTENT = ("refusal", "reasoning_content", "function_call", "audio")
"""Entries of `additional_kwargs` that OpenAI's form has at the top of a message."""
REPEATED = frozenset({"tool_calls", "parsed"})
"""Entries of `additional_kwargs` that the message has in LangChain's own form as well."""
REPORTED = frozenset({*FINISH_KEYS, *ID_KEYS, *MODEL_KEYS, *USAGE_KEYS, "generation_id"})
"""Entries that the row of the model call tells in its own fields, where `response_metadata` has them, too (Cohere)."""

_SAID = ("type", "name", "content", "additional_kwargs", "response_metadata")
STATES: dict[type, tuple[str, ...]] = {
    BaseMessage: _SAID,
    AIMessage: (*_SAID, "tool_calls", "invalid_tool_calls"),
    ToolMessage: (*_SAID, "tool_call_id", "status"),
    ChatMessage: (*_SAID, "role"),
}
"""What the JSON of a message is made of; not its id, which LangGraph sets in place."""


class ChatRequest:
    """The messages that go to a model, with the tools that the model may call."""

    __slots__ = ("messages", "tools")

    def __init__(self, messages: Any, tools: Any) -> None:
        self.messages = messages
        self.tools = tools

    def plain(self) -> dict[str, Any]:
        """Return messages and tools as the body of a request has them."""
        return {"messages": self.messages, "tools": [_tool(tool) for tool in self.tools]}


class GraphInput:
    """The input of a graph, whose messages may have any of the short forms that LangGraph takes."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def plain(self) -> dict[str, Any]:
        """Return the input with its messages in one form."""
        messages = self.values["messages"]
        if isinstance(messages, (History, NotedMessage)):
            messages = messages.restored()
        listed = messages if isinstance(messages, list) else [messages]
        return {**self.values, "messages": [_message(message) for message in listed]}


class PartialAnswer:
    """The parts of an answer that were streamed before the model call was given up."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def plain(self) -> Any:
        """Return the parts put together."""
        chunks = [part for part in self.parts if isinstance(part, Generation)]
        if chunks:
            messages = [chunk.message for chunk in chunks if isinstance(chunk, ChatGeneration)]
            if not messages:
                return "".join(chunk.text for chunk in chunks)
            return messages[0] if len(messages) == 1 else _sum(messages)
        deltas = [part.get("delta") or {} for part in self.parts if isinstance(part, dict)]
        text = "".join(str(delta.get("text", "")) for delta in deltas)
        text += "".join(part for part in self.parts if isinstance(part, str))
        return {"role": "assistant", "content": text}


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Return a message as role, content and its further fields."""
    kind = message.type.removesuffix("MessageChunk").lower() if message.type.endswith("Chunk") else message.type
    role = message.role if isinstance(message, ChatMessage) else ROLES.get(kind, kind)
    plain: dict[str, Any] = {"role": role, "content": message.content}
    if message.name:
        plain["name"] = message.name
    if isinstance(message, ToolMessage):
        plain["tool_call_id"] = message.tool_call_id
        if message.status == "error":
            plain["status"] = "error"
    elif not isinstance(message, FunctionMessage):
        for key in ("tool_calls", "invalid_tool_calls"):
            calls = getattr(message, key, None)
            if calls:
                plain[key] = calls
        if message.additional_kwargs:
            _add_beside_content(plain, message)
    return plain


def _add_beside_content(plain: dict[str, Any], message: BaseMessage) -> None:
    """Add the provider's fields beside the content: audio, reasoning, citations and the like."""
    further: dict[str, Any] = {}
    for key, value in message.additional_kwargs.items():
        if key in REPEATED or key.startswith("__") or _is_empty(value) or _is_told(key, value, plain, message):
            continue
        (plain if key in BESIDE_CONTENT else further)[key] = value
    if further:
        plain["additional_kwargs"] = further


def _is_empty(value: Any) -> bool:
    """Return whether there is nothing in a value; a dict may have entries without a value. Arrays have no truth."""
    if type(value) is dict:
        return not any(entry is not None for entry in value.values())
    return (type(value) in ATOMS or type(value) in CONTAINERS) and not value


def _is_told(key: str, value: Any, plain: dict[str, Any], message: BaseMessage) -> bool:
    """Return whether an entry of `additional_kwargs` says what the message or the row of its call says elsewhere."""
    if key == "function_call":  # Gemini's client repeats the last call
        return "tool_calls" in plain or "invalid_tool_calls" in plain
    if key == "tool_plan":  # Cohere's client repeats the content
        return bool(value == message.content)
    return key in REPORTED and bool(message.response_metadata.get(key) == value)


def document_fields(document: Document) -> dict[str, Any]:
    """Return a document as its text and its metadata."""
    plain: dict[str, Any] = {"page_content": document.page_content, "metadata": document.metadata}
    if document.id is not None:
        plain["id"] = document.id
    return plain


def tool_messages(outputs: Any) -> list[ToolMessage]:
    """Return the tool messages in the output of a node or graph, whatever the state calls its lists."""
    found: list[ToolMessage] = []
    waiting = [outputs]  # with the commands in it: agents return lists of them, and a call for each would be most of it
    for value in waiting:
        kind = type(value)
        if (kind.__module__, kind.__name__) == COMMAND:
            value = value.update
        items: list[Any] = value if isinstance(value, list) else []
        for entry in value.values() if isinstance(value, dict) else ():
            items += entry if isinstance(entry, list) else [entry]
        # By kinds first: a tool may return a million numbers, and pydantic answers `isinstance` with a call.
        for kind in set(map(type, items)):
            if ToolMessage in kind.__mro__ or (kind.__module__, kind.__name__) == COMMAND:
                break
        else:
            continue
        for item in items:
            kind = type(item)
            if ToolMessage in kind.__mro__:
                found.append(item)
            elif (kind.__module__, kind.__name__) == COMMAND:
                waiting.append(item)
    return found


def tool_outcome(output: Any, call_id: str | None) -> tuple[str | None, Any]:
    """Return the message of an error that a tool caught itself, or None, and the output that its row shows.

    Args:
        output: a tool message, a command, or any other output of a tool. The row of a message shows its content, with
            the artifact beside it if there is one.
        call_id: of the tool call; a command may also hand over older messages. None if it is not known.
    """
    if isinstance(output, ToolMessage):
        error = str(output.content) if output.status == "error" else None
        artifact = output.artifact
        return error, output.content if artifact is None else {"content": output.content, "artifact": artifact}
    for message in tool_messages(output) if type(output) not in ATOMS else ():
        if message.status == "error" and (call_id is None or message.tool_call_id == call_id):
            return str(message.content), output
    return None, output


def _sum(messages: list[Any]) -> Any:
    try:
        return messages[0] + messages[1:]
    except Exception:  # noqa: BLE001  chunks of a foreign class that do not add up: their texts do
        return {"role": "assistant", "content": "".join(str(message.text) for message in messages)}


def _message(short: Any) -> Any:
    """Return a message that stands in one of LangGraph's short forms as role and content; others as they are."""
    if isinstance(short, str):
        return {"role": "user", "content": short}
    if isinstance(short, (tuple, list)):
        pair: list[Any] = list(short)
        if len(pair) == 2 and isinstance(pair[0], str):
            return {"role": ROLES.get(pair[0], pair[0]), "content": pair[1]}
    return short


def _tool(tool: Any) -> Any:
    if isinstance(tool, dict):
        return without_secrets(tool)
    if not hasattr(tool, "name"):
        return tool
    from langchain_core.utils.function_calling import convert_to_openai_tool

    return convert_to_openai_tool(tool)


def _command(command: Any) -> dict[str, Any]:
    fields = ("graph", "update", "resume", "goto")
    values = {name: getattr(command, name, None) for name in fields}
    return {name: value for name, value in values.items() if value is not None and value != ()}


def _fields(names: Iterable[str]) -> json_text.Converter:
    def convert(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name, None) for name in names}

    return convert


def _plain(value: Any) -> Any:
    return value.plain()


_graph_types_registered = False


def register() -> None:
    """Register converters for LangChain's objects, and how they are noted."""
    keepers.register(BaseMessage, MESSAGES)
    keepers.register(Document, DOCUMENTS)
    for kind, names in STATES.items():
        json_text.register(kind, message_fields, state=attrgetter(*names))
    json_text.register(Document, document_fields, state=vars)
    json_text.register(PromptValue, lambda value: value.to_messages())
    json_text.register(AgentAction, _fields(("tool", "tool_input", "log")))
    json_text.register(AgentFinish, _fields(("return_values", "log")))
    for wrapper in (ChatRequest, GraphInput, PartialAnswer):
        json_text.register(wrapper, _plain)


def register_graph_types() -> None:
    """Register converters for LangGraph's objects, once the application has imported LangGraph."""
    global _graph_types_registered
    if _graph_types_registered:
        return
    types = sys.modules.get("langgraph.types")
    if types is None:
        return
    _graph_types_registered = True
    for name, converter in (
        ("Command", _command),
        ("Send", _fields(("node", "arg"))),
        ("Interrupt", _fields(("id", "value"))),
    ):
        kind = getattr(types, name, None)
        if isinstance(kind, type):
            json_text.register(kind, converter)

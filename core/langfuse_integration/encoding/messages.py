"""Chat messages in inputs and outputs, whichever framework wrote them, and values in one line.

Read are messages as OpenAI and Langfuse write them (role, content, tool_calls), as LangChain does (type, content or
data) and as LlamaIndex does (role, blocks), alone, in lists, under `messages`, or in what a LangGraph command updates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from .observed import parsed

ROLES = {
    "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant", "aimessagechunk": "assistant",
    "model": "assistant", "system": "system", "developer": "system", "tool": "tool", "function": "tool",
}  # fmt: skip
"""What a message's role or type is called here."""
CALL_KINDS = frozenset({"function", "function_call", "tool_call", "tool_use"})
"""Types of content blocks that ask for a tool."""
SILENT_KINDS = CALL_KINDS | {"reasoning", "thinking"}
"""Types of content blocks without text for the user."""
RESULT_KEYS = frozenset(
    {
        "additional_kwargs", "artifact", "content", "id", "isError", "is_error", "meta", "_meta", "name",
        "response_metadata", "resultType", "role", "status", "structuredContent", "structured_content",
        "tool_call_id", "type",
    }
)  # fmt: skip
"""Keys of a tool's result next to its content. A mapping with any other key is not a result."""
_MAX_DEPTH = 6


class ToolCall(NamedTuple):
    """A tool call that a model asks for; the id is None where the provider gives none."""

    name: str
    arguments: Any
    id: str | None = None


class ChatMessage(NamedTuple):
    """One message.

    Attributes:
        role: user, assistant, system, tool, or the role as it was recorded.
        call_id: for a tool's message, the id of the call that it answers.
        failed: for a tool's message, whether it reports an error.
    """

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None
    failed: bool = False


def messages_in(value: Any, depth: int = 0) -> list[ChatMessage]:
    """Return the chat messages that *value* is made of, in their order; empty if it is something else."""
    if depth > _MAX_DEPTH:
        return []
    if isinstance(value, list):
        items: list[Any] = value
        each = [messages_in(item, depth + 1) for item in items]
        return [message for messages in each for message in messages] if all(each) else []
    if not isinstance(value, Mapping):
        return []
    entry = cast("Mapping[str, Any]", value)
    message = _message(entry)
    if message is not None:
        return [message]
    command = ("update",) if "goto" in entry or "graph" in entry or entry.keys() == {"update"} else ()  # of LangGraph
    for key in ("messages", "chat_history", "message", "generations", "choices", *command):
        messages_below = messages_in(entry.get(key), depth + 1)
        if messages_below:
            return messages_below
    return []


def text_of(content: Any) -> str | None:
    """Return the text in a message's content: text itself, or the text parts of a list; None if it is neither."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts: list[Any] = content
    texts = [_part(part) for part in parts]
    return "\n".join(text for text in texts if text) if all(text is not None for text in texts) else None


def _part(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return None
    entry = cast("Mapping[str, Any]", part)
    for key in ("text", "page_content"):
        if isinstance(entry.get(key), str):
            return str(entry[key])
    kind = str(entry.get("type") or entry.get("block_type") or "")
    if not kind:
        return None
    return "" if kind in SILENT_KINDS else f"[{kind}]"


def _message(entry: Mapping[str, Any]) -> ChatMessage | None:
    data = entry.get("data")
    inner = cast("Mapping[str, Any]", data) if isinstance(data, Mapping) and "content" in data else entry
    role = entry.get("role", entry.get("type"))
    if not isinstance(role, str):
        return None
    standard_role = ROLES.get(role.lower())
    if standard_role is None and "role" not in entry:
        return None
    content = inner.get("content", inner.get("blocks"))
    text = text_of(content)
    calls = tuple(_calls(inner))
    if text is None and not calls:
        return None
    call_id = inner.get("tool_call_id")
    return ChatMessage(
        standard_role or role,
        text or "",
        calls,
        call_id if isinstance(call_id, str) else None,
        inner.get("status") == "error" or inner.get("is_error") is True,
    )


def _calls(entry: Mapping[str, Any]) -> Iterator[ToolCall]:
    extra = entry.get("additional_kwargs")
    listed = entry.get("tool_calls")
    if not listed and isinstance(extra, Mapping):
        listed = cast("Mapping[str, Any]", extra).get("tool_calls")
    for source in (listed, entry.get("blocks"), None if listed else entry.get("content")):
        if isinstance(source, list):
            items: list[Any] = source
            for item in items:
                call = _call(cast("Mapping[str, Any]", item)) if isinstance(item, Mapping) else None
                if call is not None:
                    yield call


def _call(entry: Mapping[str, Any]) -> ToolCall | None:
    function = entry.get("function")
    inner = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else entry
    name = inner.get("name") or inner.get("tool_name")
    kind = entry.get("type") or entry.get("block_type")
    if not isinstance(name, str) or (kind is not None and kind not in CALL_KINDS):
        return None
    call_id = next((str(entry[key]) for key in ("call_id", "tool_call_id", "id") if entry.get(key)), None)
    arguments = next(
        (parsed(inner[key]) for key in ("args", "arguments", "input", "tool_kwargs") if key in inner), None
    )
    return ToolCall(name, arguments, call_id)


def compact(value: Any) -> str:
    """Return a value in one line as a person would write it: text as it is, a small mapping as name=value."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        entry = cast("Mapping[str, Any]", value)
        content = text_of(entry.get("content")) if entry.keys() <= RESULT_KEYS else None
        if content:
            return content
        return ", ".join(f"{key}={_short(item)}" for key, item in entry.items())
    if isinstance(value, list):
        text = text_of(value)
        if text:
            return text
    return _short(value)


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)

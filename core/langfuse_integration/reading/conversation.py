"""What was said: chat messages found in inputs and outputs, whichever framework wrote them.

Read are messages as OpenAI and Langfuse write them (role, content, tool_calls), as LangChain does (type, content or
data) and as LlamaIndex does (role, blocks), alone, in lists, or under `messages`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from .replay import Observed, Trace, parsed

ROLES = {
    "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant", "aimessagechunk": "assistant",
    "model": "assistant", "system": "system", "developer": "system", "tool": "tool", "function": "tool",
}  # fmt: skip
"""What a message's role or type is called here."""
QUESTION_KEYS = ("input", "question", "query", "user_msg", "prompt", "message", "text", "content")
ANSWER_KEYS = ("output", "answer", "response", "result", "text", "content", "message")
SPEAKERS = ("agent", "chain", "generation", "span")
_MAX_DEPTH = 6


class Call(NamedTuple):
    """A tool call that a model asks for."""

    name: str
    arguments: Any


class Message(NamedTuple):
    """One message: its role is user, assistant, system, tool, or what it says itself."""

    role: str
    text: str
    calls: tuple[Call, ...] = ()


class Exchange(NamedTuple):
    """What the user said in one trace, and what came back; None where nothing of it is to be found."""

    question: str | None
    answer: str | None
    answered_by: str | None


def exchange_of(trace: Trace) -> Exchange:
    """Return what was said in a trace: by its root, or by the first observation below that tells."""
    first: tuple[str, Observed] | None = None
    for observation in _from_the_top(trace.roots):
        question = asked(observation.input) if observation.type in SPEAKERS else None
        if question:
            first = question, observation
            break
    if first is None:
        return Exchange(None, None, None)
    question, observation = first
    return Exchange(question, answered(observation.output), _speaker(observation))


def asked(value: Any) -> str | None:
    """Return what the user said last in an input, or None."""
    return _last(value, "user", QUESTION_KEYS)


def answered(value: Any) -> str | None:
    """Return what the assistant said last in an output, or None."""
    return _last(value, "assistant", ANSWER_KEYS)


def messages_in(value: Any, depth: int = 0) -> list[Message]:
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
    for key in ("messages", "chat_history", "message", "generations", "choices"):
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
    return "" if kind in ("tool_use", "tool_call", "reasoning", "thinking") else f"[{kind}]"


def _message(entry: Mapping[str, Any]) -> Message | None:
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
    return Message(standard_role or role, text or "", calls)


def _calls(entry: Mapping[str, Any]) -> Iterator[Call]:
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


def _call(entry: Mapping[str, Any]) -> Call | None:
    function = entry.get("function")
    inner = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else entry
    name = inner.get("name") or inner.get("tool_name")
    kind = entry.get("type") or entry.get("block_type")
    if not isinstance(name, str) or kind not in (None, "function", "tool_call", "tool_use"):
        return None
    for key in ("args", "arguments", "input", "tool_kwargs"):
        if key in inner:
            return Call(name, parsed(inner[key]))
    return Call(name, None)


def _last(value: Any, role: str, keys: Iterable[str]) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    texts = [message.text for message in messages_in(value) if message.role == role and message.text.strip()]
    if texts:
        return texts[-1].strip()
    if isinstance(value, Mapping):
        entry = cast("Mapping[str, Any]", value)
        for key in keys:
            if isinstance(entry.get(key), str) and str(entry[key]).strip():
                return str(entry[key]).strip()
    return None


def _speaker(observation: Observed) -> str | None:
    name = observation.metadata.get("agent_name")
    if isinstance(name, str) and name:
        return name
    return observation.name if observation.type == "agent" and not observation.is_think else None


def _from_the_top(roots: list[Observed]) -> Iterator[Observed]:
    level = roots
    while level:
        yield from level
        level = [child for observation in level for child in observation.children]


def compact(value: Any) -> str:
    """Return a value in one line as a person would write it: text as it is, a small mapping as name=value."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        entry = cast("Mapping[str, Any]", value)
        content = text_of(entry.get("content")) if "content" in entry else None
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

"""Chat messages in OpenAI's form, which Langfuse shows as a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.noted import Noted, as_it_was
from langfuse_integration.recording.noted_messages import keepers

from . import blocks, tools
from .kept import MESSAGES

NOT_SHOWN = frozenset((
    "tool_calls", "tool_call_id", "name", "usage", "stop_reason", "thinking_delta", "images", "refusal", "status",
    "prompt_tokens", "completion_tokens", "total_tokens", "thought_signatures",
))  # fmt: skip
"""Entries of `additional_kwargs` that stand elsewhere on the row, or that readers have no use for."""

ROLES = {"model": "assistant", "chatbot": "assistant"}
"""Names that providers have for the assistant."""

EMPTY: tuple[Any, ...] = (None, "", [], {})
EMPTY_KINDS = frozenset(map(type, EMPTY))

ARGUMENTS = ("arguments", "input", "tool_kwargs", "args", "parameters")
"""The keys of a tool call's arguments, as integrations name them."""


RESPONSES: frozenset[type] = frozenset({ChatResponse, CompletionResponse})
"""What most models answer, told by one look-up: to ask pydantic for a field that is not there takes several calls."""
NO_STREAMS = RESPONSES | {str, type(None)}
"""What most model calls return; to ask the abstract classes of streams takes several calls."""
INSIDE = ("message",)
"""The field of a response that changes as well."""


class Prompt:
    """The input of a chat model: messages and tools."""

    __slots__ = ("messages", "tools")

    def __init__(self, messages: Any, tools: Any) -> None:
        self.messages = messages
        self.tools = tools


class Template:
    """A prompt template and its variables, where the filled prompt was not seen."""

    __slots__ = ("template", "variables")

    def __init__(self, template: Any, variables: Any) -> None:
        self.template = template
        self.variables = variables


class LlmAnswer:
    """The answer of a model.

    Attributes:
        response: a `ChatResponse` or `CompletionResponse`, or None.
        deltas: the pieces of a streamed text: the last message of some models is not the whole text.
        noted: the response as it is now: agents and applications change its message.
    """

    __slots__ = ("deltas", "noted", "response")

    def __init__(self, response: Any, deltas: Sequence[str] = ()) -> None:
        self.response = response
        self.deltas = deltas
        self.noted = Noted(response, INSIDE) if hasattr(response, "__dict__") else None


def is_response(result: Any) -> bool:
    """Return whether *result* is a `ChatResponse` or `CompletionResponse`."""
    return hasattr(result, "raw") and (hasattr(result, "message") or hasattr(result, "text"))


def output_of(result: Any, last: Any) -> Any:
    """Return the answer of a call as a person reads it: the requested object, else the message, else the text.

    Args:
        result: what the call returned.
        last: the response of the outermost model call inside, or *result* or None where there was none.
    """
    if result is None or isinstance(result, str):
        return LlmAnswer(last) if last is not None and last is not result else result
    return LlmAnswer(result) if type(result) in RESPONSES or is_response(result) else result


# -- on the worker: plain values


def plain(message: Any) -> dict[str, Any]:
    """Return a `ChatMessage` in OpenAI's form; fields that this form lacks keep LlamaIndex's names."""
    extra = message.additional_kwargs or {}
    calls: list[dict[str, Any]] = []
    parts: list[Any] = []
    for block in message.blocks:
        if getattr(block, "block_type", None) == "tool_call":
            calls.append(_call(block.tool_call_id, block.tool_name, block.tool_kwargs))
        else:
            parts.append(blocks.plain(block))
    role = getattr(message.role, "value", message.role)
    entries: dict[str, Any] = {"role": ROLES.get(role, role), "content": _content(parts)}
    calls = _merged(_calls(extra.get("tool_calls")), calls)
    if calls:
        entries["tool_calls"] = calls
    for name in ("tool_call_id", "name", "refusal"):
        if isinstance(extra.get(name), str) and not (name == "tool_call_id" and role == "assistant"):
            entries[name] = extra[name]
    rest = {key: value for key, value in extra.items() if key not in NOT_SHOWN and not _is_empty(value)}
    if rest:
        entries["additional_kwargs"] = rest
    return entries


def _is_empty(value: Any) -> bool:
    """Return whether there is nothing in a value; a dict may have entries without a value. Arrays compare by item."""
    if type(value) is dict:
        return not any(entry is not None for entry in value.values())
    return type(value) in EMPTY_KINDS and value in EMPTY


def _text_alone(message: Any) -> tuple[str, str] | None:
    """Return role and text of a `ChatMessage` that has nothing else; None for any other.

    A memory makes its messages anew for each call: most need not be serialised again.
    """
    message_blocks = message.blocks
    if message.additional_kwargs or len(message_blocks) != 1:
        return None
    block = message_blocks[0]
    if getattr(block, "block_type", None) != "text" or type(block.text) is not str:
        return None
    return str(getattr(message.role, "value", message.role)), block.text


def _state(message: Any) -> list[Any]:
    """Return what a message is made of, down to the fields of its blocks."""
    fields = message.__dict__
    return [fields["role"], fields["additional_kwargs"], list(map(blocks.fields, fields["blocks"]))]


def _content(parts: list[Any]) -> Any:
    if not parts:
        return None
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _calls(given: Any) -> list[dict[str, Any]]:
    """Return the tool calls that an integration keeps in `additional_kwargs`, in any of the forms in use."""
    calls = []
    for call in given if isinstance(given, (list, tuple)) else ():
        function = _get(call, "function")
        source = function if function is not None else call
        name = _get(source, "name") or _get(source, "tool_name")
        arguments = [value for key in ARGUMENTS if (value := _get(source, key)) is not None]
        call_id = _get(call, "id") or _get(call, "tool_id") or _get(call, "call_id")
        calls.append(_call(call_id, name, arguments[0] if arguments else None))
    return calls


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """Return a tool call; without an id of the provider its name stands for the id, as LlamaIndex has it."""
    identity = str(call_id or name or "")
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _merged(extra: list[dict[str, Any]], in_blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each call once: some integrations keep it both as a block and in `additional_kwargs`.

    Parallel calls may have the same id, or none: the first of one list is the first of the other.
    """
    merged, left = [], list(in_blocks)
    for call in extra:
        twin = next((other for other in left if other["id"] == call["id"]), None)
        if twin is not None:
            left.remove(twin)
        merged.append(twin or call)
    return merged + left


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)


def _prompt(prompt: Prompt) -> Any:
    offered = tools.offered(prompt.tools) if prompt.tools else None
    return {"messages": prompt.messages, "tools": offered} if offered else prompt.messages


def _template(template: Template) -> Any:
    prompt = getattr(template.template, "default_template", None) or template.template
    shown = getattr(prompt, "message_templates", None) or getattr(prompt, "template", None) or type(prompt).__name__
    return {"template": shown, "variables": template.variables} if template.variables else shown


def _answer(answer: LlmAnswer) -> Any:
    response, deltas = as_it_was(answer.noted), answer.deltas
    message = getattr(response, "message", None)
    if message is None:
        text = getattr(response, "text", None)
        streamed = "".join(deltas)
        return streamed if len(streamed) > len(text or "") else text
    entries = plain(message)
    if entries["content"] is None and "refusal" not in entries:
        refusal = _refusal(getattr(response, "raw", None))
        if refusal:
            entries["refusal"] = refusal
    if deltas and _shorter(entries["content"], deltas):
        thinking = entries["content"] if isinstance(entries["content"], list) else []
        kept = [part for part in thinking if part["type"] != "text"]
        text = "".join(deltas)
        entries["content"] = [*kept, {"type": "text", "text": text}] if kept else text
    return entries


def _refusal(raw: Any) -> Any:
    """Return OpenAI's refusal, which LlamaIndex leaves in the raw response."""
    choices = _get(raw, "choices")
    return _get(_get(choices[0], "message"), "refusal") if isinstance(choices, list) and choices else None


def _shorter(content: Any, deltas: Sequence[str]) -> bool:
    """Return whether a streamed message has less text than its pieces."""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part["type"] == "text")
    return len(content or "") < sum(map(len, deltas))


def register() -> None:
    """Register converters for messages; a message is serialised once, however many calls repeat it."""
    keepers.register(ChatMessage, MESSAGES)
    json_text.register(ChatMessage, plain, state=_state, content=_text_alone)
    json_text.register(Prompt, _prompt)
    json_text.register(Template, _template)
    json_text.register(LlmAnswer, _answer)
    json_text.register(ChatResponse, lambda response: plain(response.message))
    json_text.register(CompletionResponse, lambda response: response.text)

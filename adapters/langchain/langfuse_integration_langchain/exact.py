"""The exact form of a model's answer: written on the worker, and made into equal objects again in a replay.

A form is plain JSON: `{"form": "langchain.chat" or "langchain.text", "generations": [...], "llm_output": ...,
"chunks": [...]}`, and `"error"` where the call failed. In `chunks` a text stands for a chunk that is like the chunk
before it except for its content.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk
from pydantic import BaseModel

CHAT, TEXT = "langchain.chat", "langchain.text"
BYTES = "__bytes__"
_KINDS: dict[str, type[BaseMessage]] = {
    "ai": AIMessage,
    "AIMessageChunk": AIMessageChunk,
    "chat": ChatMessage,
    "human": HumanMessage,
}
_DERIVED = frozenset({"tool_calls", "invalid_tool_calls"})
"""Fields of a chunk that LangChain makes from its `tool_call_chunks`."""


# -- writing


def answer_form(
    generations: Iterable[Any], llm_output: Any, parts: list[Any] | None, error: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the exact form of an answer.

    Args:
        generations: the candidates; none where the call failed.
        llm_output: the provider's report beside them, or None.
        parts: the streamed chunks, in order, or None.
        error: the exact form of the exception, or None.
    """
    listed = list(generations)
    chunks = [part for part in parts or () if isinstance(part, (ChatGenerationChunk, GenerationChunk))]
    is_chat = any(isinstance(one, ChatGeneration) for one in (*listed, *chunks)) or not (listed or chunks)
    form: dict[str, Any] = {"form": CHAT if is_chat else TEXT}
    if error is not None:
        form["error"] = error
    else:
        form["generations"] = [_generation(each) for each in listed]
    if llm_output:
        form["llm_output"] = plain_form(llm_output)
    if chunks:
        form["chunks"] = _joined([_generation(chunk) for chunk in chunks])
    return form


def _generation(generation: Any) -> dict[str, Any]:
    is_chat = isinstance(generation, ChatGeneration)
    form = _message(generation.message) if is_chat else {"text": generation.text}
    if generation.generation_info:
        form["generation_info"] = plain_form(generation.generation_info)
    return form


def _message(message: BaseMessage) -> dict[str, Any]:
    fields = message.model_dump(exclude_defaults=True)
    fields.pop("type", None)
    if isinstance(message, AIMessageChunk):
        fields = {key: value for key, value in fields.items() if key not in _DERIVED}
    return {"type": message.type, "content": plain_form(message.content), **_plain_entries(fields)}


def _plain_entries(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain_form(value) for key, value in fields.items() if key != "content"}


def plain_form(value: Any) -> Any:
    """Return *value* in dicts, lists, texts and numbers, from which `restored` makes an equal one."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain_form(item) for item in cast("list[Any]", value)]
    if isinstance(value, (bytes, bytearray)):
        return {BYTES: base64.b64encode(value).decode()}
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _joined(chunks: list[dict[str, Any]]) -> list[Any]:
    """Return chunk forms with a text for each that differs from the one before in its text only."""
    joined: list[Any] = []
    previous: dict[str, Any] | None = None
    for chunk in chunks:
        key = "content" if "content" in chunk else "text"
        rest = {name: value for name, value in chunk.items() if name != key}
        joined.append(chunk[key] if rest == previous and isinstance(chunk[key], str) else chunk)
        previous = rest
    return joined


# -- reading


def generations_of(form: Mapping[str, Any]) -> list[Any]:
    """Return the candidates of a form; of one that has only chunks, their sum."""
    if form.get("generations"):
        return [_restored(each, ChatGeneration, Generation) for each in form["generations"]]
    chunks = chunks_of(form)
    return [sum(chunks[1:], chunks[0])] if chunks else []


def chunks_of(form: Mapping[str, Any]) -> list[Any]:
    """Return the streamed chunks of a form in their order; of an answer that was not streamed, one for all of it."""
    chunks: list[Any] = []
    last: dict[str, Any] = {}
    for chunk in form.get("chunks") or ():
        if isinstance(chunk, str):
            key = "content" if "content" in last else "text"
            last = {**last, key: chunk}
        else:
            last = chunk
        chunks.append(_restored(last, ChatGenerationChunk, GenerationChunk))
    if not chunks and form.get("generations"):
        first = {**form["generations"][0]}
        if "content" in first:
            first = {**_as_chunk(first), "chunk_position": "last"}
        chunks = [_restored(first, ChatGenerationChunk, GenerationChunk)]
    return chunks


def llm_output_of(form: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the provider's report beside the candidates, or None."""
    output: dict[str, Any] | None = restored(form.get("llm_output"))
    return output


def restored(value: Any) -> Any:
    """Return the value that `plain_form` was given."""
    if isinstance(value, dict):
        if value.keys() == {BYTES}:
            return base64.b64decode(value[BYTES])
        return {key: restored(item) for key, item in value.items()}
    return [restored(item) for item in value] if isinstance(value, list) else value


def _restored(form: Mapping[str, Any], chat: Any, text: Any) -> Any:
    fields = {key: restored(value) for key, value in form.items()}
    info = fields.pop("generation_info", None)
    if "content" not in fields:
        return text(text=fields.get("text", ""), generation_info=info)
    kind = _KINDS.get(str(fields.pop("type", "ai")), AIMessage)
    return chat(message=kind(**fields), generation_info=info)


def _as_chunk(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of a whole message as that of its only chunk."""
    import json

    fields = {key: value for key, value in message.items() if key not in _DERIVED}
    calls: list[dict[str, Any]] = [
        *({**call, "args": json.dumps(call["args"])} for call in message.get("tool_calls") or ()),
        *(message.get("invalid_tool_calls") or ()),
    ]
    if calls:
        fields["tool_call_chunks"] = [
            {"type": "tool_call_chunk", "index": index, **{key: call.get(key) for key in ("name", "args", "id")}}
            for index, call in enumerate(calls)
        ]
    return {**fields, "type": "AIMessageChunk"}

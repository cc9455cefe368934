"""How messages and documents are noted, on the application's thread: their fields, with copies of what may change."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import Any

from langfuse_integration.recording.noted_messages import WINDOW, Keeper
from langfuse_integration.recording.snapshot import ATOMS, snapshot

_MAPPINGS = ("additional_kwargs", "response_metadata")


def fields_of(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the fields of messages as they are now; most messages have nothing that needs a call."""
    every: list[dict[str, Any]] = []
    for message in messages:
        fields: dict[str, Any] = message.__dict__.copy()
        every.append(fields)
        for name in _MAPPINGS:
            value = fields[name]
            fields[name] = value.copy() if ATOMS.issuperset(map(type, value.values())) else snapshot(value)
        if type(fields["content"]) is list:
            fields["content"] = snapshot(fields["content"])
        calls = fields.get("tool_calls")
        if calls is not None:
            fields["tool_calls"] = (
                []
                if not calls
                else [
                    {**call, "args": call["args"].copy()} if type(call.get("args")) is dict else call.copy()
                    for call in calls
                ]
            )
    return every


def _fields(messages: list[Any]) -> list[dict[str, Any]]:
    every = fields_of(messages)
    for fields in every:
        fields.pop("id", None)  # LangGraph gives one to each message that it keeps; no row has it
    return every


def _message(message: Any, content: Any, fields: dict[str, Any] | None) -> Any:
    """Return a message as it was noted."""
    copy = message.model_copy()
    copy.__dict__.update({"content": content} if fields is None else fields)
    return copy


def _fields_of_documents(documents: list[Any]) -> list[dict[str, Any]]:
    return [{**document.__dict__, "metadata": snapshot(document.metadata)} for document in documents]


def _document(document: Any, text: Any, fields: dict[str, Any] | None) -> Any:
    return document.model_copy(update={"page_content": text} if fields is None else fields)


MESSAGES = Keeper(partial(map, attrgetter("content")), _fields, _message)
DOCUMENTS = Keeper(partial(map, attrgetter("page_content")), _fields_of_documents, _document, whole=WINDOW)

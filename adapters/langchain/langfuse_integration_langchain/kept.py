"""How messages and documents are noted, on the application's thread: their fields, with copies of what may change."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import Any

from langfuse_integration.recording.noted_messages import WINDOW, Keeper, is_same
from langfuse_integration.recording.snapshot import ATOMS, containers

_MAPPINGS = ("additional_kwargs", "response_metadata")
_NO_ENTRIES: dict[str, Any] = {}
_NO_CALLS: list[Any] = []
"""Copies of what is empty: each container that waits for the worker makes the garbage collector run more often."""


def fields_of(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the fields of messages as they are now; most messages have nothing that needs a call."""
    # Loops, since each comprehension is a call before Python 3.12.
    every: list[dict[str, Any]] = []
    for message in messages:
        fields: dict[str, Any] = message.__dict__.copy()
        every.append(fields)
        for name in _MAPPINGS:
            value = fields[name]
            if not value:
                fields[name] = _NO_ENTRIES
            else:
                fields[name] = value.copy() if ATOMS.issuperset(map(type, value.values())) else containers(value)
        if type(fields["content"]) is list:
            fields["content"] = containers(fields["content"])
        calls = fields.get("tool_calls")
        if calls is not None:
            fields["tool_calls"] = copies = [] if calls else _NO_CALLS
            for call in calls:
                copy = call.copy()
                copies.append(copy)
                arguments = call.get("args")
                if type(arguments) is dict:
                    plain = ATOMS.issuperset(map(type, arguments.values()))
                    copy["args"] = arguments.copy() if plain else containers(arguments)
    return every


def _message(message: Any, content: Any, fields: dict[str, Any] | None) -> Any:
    """Return a message as it was noted; LangGraph gives an id to each message that it keeps, and no row has it."""
    if fields is not None and is_same({**message.__dict__, "id": fields["id"]}, fields):
        return message
    copy = message.model_copy()
    copy.__dict__.update({"content": content} if fields is None else fields)
    return copy


def _fields_of_documents(documents: list[Any]) -> list[dict[str, Any]]:
    return [{**document.__dict__, "metadata": containers(document.metadata)} for document in documents]


def _document(document: Any, text: Any, fields: dict[str, Any] | None) -> Any:
    return document.model_copy(update={"page_content": text} if fields is None else fields)


def _present(values: list[Any]) -> list[dict[str, Any]]:
    return list(map(attrgetter("__dict__"), values))


MESSAGES = Keeper(partial(map, attrgetter("content")), fields_of, _present, _message)
DOCUMENTS = Keeper(partial(map, attrgetter("page_content")), _fields_of_documents, _present, _document, whole=WINDOW)

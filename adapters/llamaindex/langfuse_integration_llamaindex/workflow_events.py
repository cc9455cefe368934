"""The events of workflows as a person reads them: what a run was asked, what went into a step, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.snapshot import snapshot

from .arguments import given
from .folding import is_a

RUNTIMES_OWN = frozenset(("init_state", "tags", "start_event", "memory", "max_iterations", "early_stopping_method"))
"""Arguments of a run that are settings and state, and no part of what was asked."""


class Asked:
    """What a run was started with: its fields as they were, or None when it goes on from a saved context."""

    __slots__ = ("fields",)

    def __init__(self, bound: BoundArguments) -> None:
        self.fields = _noted(bound)


class Given:
    """What went into a step or came out of it: an event's kind and fields as they were, or any other value."""

    __slots__ = ("fields", "kind", "result")

    def __init__(self, result: Any) -> None:
        self.kind: str | None = None
        self.result: Any = None
        self.fields: dict[str, Any] = {}
        if is_a(result, "StopEvent") and type(result).__name__ == "StopEvent":
            result = getattr(result, "result", None)
        if is_a(result, "AgentOutput"):
            self.result = Decided(result)
        elif is_a(result, "Event"):
            self.kind = type(result).__name__
            self.fields = fields_of(result)
        else:
            self.result = snapshot(result)


class Decided:
    """What an agent gave: its answer, and the object that was asked for."""

    __slots__ = ("message", "structured")

    def __init__(self, output: Any) -> None:
        self.message = output.response
        self.structured = output.structured_response


# -- on the application's thread: references; lists are copied, since memories go on with the lists they are given


def event_of(bound: BoundArguments) -> Any:
    """Return the event among a step's arguments."""
    if "ev" in bound.arguments:
        return bound.arguments["ev"]
    return next((value for value in bound.arguments.values() if is_a(value, "Event")), None)


def events_of(bound: BoundArguments) -> Any:
    """Return what a step works on: one event, or those that it collected."""
    events = [value for value in bound.arguments.values() if isinstance(value, list) or is_a(value, "Event")]
    if len(events) == 1 and not isinstance(events[0], list):
        return Given(events[0])
    return [Given(event) for found in events for event in (found if isinstance(found, list) else [found])]


def fields_of(event: Any) -> dict[str, Any]:
    """Return an event's fields, declared and not, that have a value."""
    found = {name: getattr(event, name, None) for name in type(event).model_fields}
    dynamic = getattr(event, "_data", None)
    if isinstance(dynamic, Mapping):
        found.update(dynamic)
    return {key: snapshot(value) for key, value in found.items() if value is not None}


def _noted(bound: BoundArguments) -> dict[str, Any] | None:
    start = bound.arguments.get("start_event")
    if start is not None:
        fields = fields_of(start)
    else:
        fields = {key: snapshot(value) for key, value in given(bound).items() if key not in RUNTIMES_OWN}
        if not fields:
            return None
    message: Any = fields.get("user_msg")
    if is_a(message, "ChatMessage") and len(message.blocks) == 1 and isinstance(message.content, str):
        fields["user_msg"] = message.content  # agents write their state into the message itself
    return fields


# -- on the worker: plain values


def _asked(asked: Asked) -> Any:
    """Return what an agent was asked, or the fields of a workflow's start event."""
    fields = asked.fields
    if fields is None:
        return "[resumed from a saved context]"
    history, message = fields.get("chat_history"), fields.get("user_msg")
    if message is None and not history:
        return fields
    if not history:
        return message
    question = {"role": "user", "content": message} if isinstance(message, str) else message
    return [*history, question] if question is not None else history


def _given(given: Given) -> Any:
    return {"event": given.kind, **given.fields} if given.kind is not None else given.result


def _decided(decided: Decided) -> Any:
    message = decided.message
    if decided.structured is not None:
        return {"response": message.content, "structured_response": decided.structured}
    return message.content if message.content is not None else message


def register() -> None:
    """Tell the worker how to write events, and what runs were asked and gave."""
    json_text.register(Asked, _asked)
    json_text.register(Given, _given)
    json_text.register(Decided, _decided)

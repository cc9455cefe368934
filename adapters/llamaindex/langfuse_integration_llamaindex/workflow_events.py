"""The events of workflows as a person reads them: what a run was asked, what went into a step, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langfuse_integration import payload

from .folding import is_a


class Asked:
    """What a run was started with, by reference."""

    __slots__ = ("arguments",)

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.arguments = arguments


class Given:
    """What a step or run gave, by reference."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


# -- on the application's thread: references


def event_of(arguments: Mapping[str, Any]) -> Any:
    """Return the event among a step's arguments."""
    if "ev" in arguments:
        return arguments["ev"]
    return next((value for value in arguments.values() if is_a(value, "Event")), None)


def events_of(arguments: Mapping[str, Any]) -> Any:
    """Return what a step works on: one event, or those that it collected."""
    events = [value for value in arguments.values() if is_a(value, "Event") or isinstance(value, list)]
    return Given(events[0]) if len(events) == 1 else [Given(event) for event in events]


# -- on the worker: plain values


def _asked(asked: Asked) -> Any:
    """Return what an agent was asked, or the fields of a workflow's start event."""
    arguments = asked.arguments
    start = arguments.get("start_event")
    if start is None:
        shown = {key: value for key, value in arguments.items() if key in ("user_msg", "chat_history") and value}
        extra = arguments.get("kwargs")
        shown.update(extra if isinstance(extra, Mapping) else {})
        return _question(shown) if shown else "[resumed from a saved context]"
    return _question(fields_of(start))


def _question(fields: dict[str, Any]) -> Any:
    history, message = fields.get("chat_history"), fields.get("user_msg")
    if message is None and not history:
        return fields
    content = message
    if not isinstance(message, (str, type(None))):
        content = message.content if len(message.blocks) == 1 and isinstance(message.content, str) else message
    if not history:
        return content
    asked = {"role": "user", "content": message} if isinstance(message, str) else message
    return [*history, asked] if asked is not None else history


def fields_of(event: Any) -> dict[str, Any]:
    """Return an event's fields, declared and not, that have a value."""
    declared = {name: getattr(event, name, None) for name in getattr(type(event), "model_fields", {})}
    dynamic = getattr(event, "_data", None)
    entries = {**declared, **(dynamic if isinstance(dynamic, Mapping) else {})}
    return {key: value for key, value in entries.items() if value is not None}


def _given(given: Given) -> Any:
    result = given.result
    if isinstance(result, list):
        return [Given(item) for item in result]
    if is_a(result, "StopEvent") and set(getattr(type(result), "model_fields", {})) <= {"result"}:
        result = getattr(result, "result", None)
    if is_a(result, "AgentOutput"):
        return _agent_output(result)
    if is_a(result, "Event"):
        return {"event": type(result).__name__, **fields_of(result)}
    return result


def _agent_output(output: Any) -> Any:
    message = output.response
    if output.structured_response is not None:
        return {"response": message.content, "structured_response": output.structured_response}
    return message.content if message.content is not None else message


def register() -> None:
    """Tell the worker how to write events, and what runs were asked and gave."""
    payload.register(Asked, _asked)
    payload.register(Given, _given)

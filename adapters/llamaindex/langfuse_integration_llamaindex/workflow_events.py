"""The events of workflows as plain values: the input of a run, and the input and output of a step."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.noted_messages import History, NotedMessage
from langfuse_integration.recording.snapshot import snapshot

from .arguments import given
from .folding import is_a

RUNTIMES_OWN = frozenset(("init_state", "tags", "start_event", "memory", "max_iterations", "early_stopping_method"))
"""Arguments of a run that are settings and state, and no part of its input."""


class RunInput:
    """The input of a run: its fields at the start, or None when the run continues a saved context."""

    __slots__ = ("fields",)

    def __init__(self, bound: BoundArguments) -> None:
        self.fields = _input_fields(bound)


class EventSnapshot:
    """The input or output of a step: an event's class and fields at this moment, or any other value."""

    __slots__ = ("fields", "kind", "result")

    def __init__(self, result: Any) -> None:
        self.kind: str | None = None
        self.result: Any = None
        self.fields: dict[str, Any] = {}
        if is_a(result, "StopEvent") and type(result).__name__ == "StopEvent":
            result = getattr(result, "result", None)
        if is_a(result, "AgentOutput"):
            self.result = AgentAnswer(result)
        elif is_a(result, "Event"):
            self.kind = type(result).__name__
            self.fields = fields_of(result)
        else:
            self.result = snapshot(result)


class AgentAnswer:
    """The output of an agent: its answer, and the structured object if one was requested."""

    __slots__ = ("message", "structured")

    def __init__(self, output: Any) -> None:
        self.message = snapshot(output.response)
        self.structured = output.structured_response


# -- on the application's thread: references; lists are copied, since memories append to the lists that they get


def event_of(bound: BoundArguments) -> Any:
    """Return the event among the arguments of a step that does not call it `ev`, as those of agents do."""
    return next((value for value in bound.arguments.values() if is_a(value, "Event")), None)


def events_of(bound: BoundArguments) -> Any:
    """Return the input of a step: one event, or the events that it collected."""
    events = [value for value in bound.arguments.values() if isinstance(value, list) or is_a(value, "Event")]
    if len(events) == 1 and not isinstance(events[0], list):
        return EventSnapshot(events[0])
    return [EventSnapshot(event) for entry in events for event in (entry if isinstance(entry, list) else [entry])]


def fields_of(event: Any) -> dict[str, Any]:
    """Return the fields of an event, declared and dynamic, that are not None."""
    values = {name: getattr(event, name, None) for name in type(event).model_fields}
    dynamic = getattr(event, "_data", None)
    if isinstance(dynamic, Mapping):
        values.update(dynamic)
    return {key: snapshot(value) for key, value in values.items() if value is not None}


def _input_fields(bound: BoundArguments) -> dict[str, Any] | None:
    start = bound.arguments.get("start_event")
    if start is not None:
        fields = fields_of(start)
    else:
        fields = {key: snapshot(value) for key, value in given(bound).items() if key not in RUNTIMES_OWN}
        if not fields:
            return None
    message: Any = fields.get("user_msg")
    if isinstance(message, NotedMessage):
        message = message.value
    if is_a(message, "ChatMessage") and len(message.blocks) == 1 and isinstance(message.content, str):
        fields["user_msg"] = message.content  # agents write their state into the message itself
    return fields


# -- on the worker: plain values


def _run_input(run_input: RunInput) -> Any:
    """Return the question to an agent, or the fields of a workflow's start event."""
    fields = run_input.fields
    if fields is None:
        return "[resumed from a saved context]"
    history, message = fields.get("chat_history"), fields.get("user_msg")
    if isinstance(history, History):
        history = history.restored()
    if isinstance(message, NotedMessage):
        message = message.restored()
    if message is None and not history:
        return fields
    if not history:
        return message
    question = {"role": "user", "content": message} if isinstance(message, str) else message
    return [*history, question] if question is not None else history


def _snapshot(snapshot: EventSnapshot) -> Any:
    return {"event": snapshot.kind, **snapshot.fields} if snapshot.kind is not None else snapshot.result


def _agent_answer(answer: AgentAnswer) -> Any:
    message = answer.message
    if isinstance(message, NotedMessage):
        message = message.restored()
    if answer.structured is not None:
        return {"response": message.content, "structured_response": answer.structured}
    return message.content if message.content is not None else message


def register() -> None:
    """Register converters for events, and for the inputs and outputs of runs."""
    json_text.register(RunInput, _run_input)
    json_text.register(EventSnapshot, _snapshot)
    json_text.register(AgentAnswer, _agent_answer)

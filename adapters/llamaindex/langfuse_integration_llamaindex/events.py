"""The event handler: events about model calls and cancellations, matched to rows by span id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.chat_engine import StreamChatDeltaReceivedEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)

from langfuse_integration.internals.faults import fault
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.tracing import registry

from .chats import HistoryWriter
from .generations import LlmCall, announced
from .places import folds
from .private import SpanCancelled
from .rows import RowState

_READING = "reading an event of LlamaIndex"


class EventHandler(BaseEventHandler):
    """Receives the events of every dispatcher; most repeat what the spans say and are ignored."""

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex lists it."""
        return "LangfuseIntegrationEventHandler"

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Hand an event to its reader."""
        read = READERS.get(type(event))
        if read is not None and event.span_id is not None:
            try:
                read(event)
            except Exception as error:  # noqa: BLE001  our own fault
                fault(_READING, error)


def _start_chat(event: LLMChatStartEvent) -> None:
    run = model_call_of(event.span_id)
    if run is not None:
        run.state.start(run, event.span_id, event.messages, event.model_dict, event.additional_kwargs)


def _start_completion(event: LLMCompletionStartEvent) -> None:
    run = model_call_of(event.span_id)
    if run is not None:
        run.state.start(run, event.span_id, event.prompt, event.model_dict, event.additional_kwargs)


def _progress(event: LLMChatInProgressEvent | LLMCompletionInProgressEvent) -> None:
    run = announced.get(event.span_id)
    if run is not None:
        run.state.token(run, event.span_id, event.response)


def _end(event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
    run = announced.get(event.span_id) or model_call_of(event.span_id)
    if run is not None:
        run.state.end(run, event.span_id, event.response)


def _error(event: ExceptionEvent) -> None:
    run = announced.get(event.span_id)
    if run is not None:
        run.state.error(run, event.span_id, event.exception)


def _delta(event: StreamChatDeltaReceivedEvent) -> None:
    writer = folds.get(event.span_id)  # type: ignore[arg-type]
    if isinstance(writer, HistoryWriter):
        writer.answer.pieces.append(event.delta)


def _cancelled(event: Any) -> None:
    run = registry.get(event.span_id)
    if run is not None and isinstance(run.state, RowState):
        run.state.cancel(run)


def model_call_of(span_id: str | None) -> Run | None:
    """Return the open model call whose span, or a span folded into it, has this id."""
    run = registry.get(span_id)
    if run is None and span_id is not None:
        fold = folds.get(span_id)
        run = fold.run if fold is not None else None
    return run if run is not None and isinstance(run.state, LlmCall) else None


READERS: dict[type, Callable[[Any], None]] = {
    LLMChatStartEvent: _start_chat,
    LLMCompletionStartEvent: _start_completion,
    LLMChatInProgressEvent: _progress,
    LLMCompletionInProgressEvent: _progress,
    LLMChatEndEvent: _end,
    LLMCompletionEndEvent: _end,
    ExceptionEvent: _error,
    StreamChatDeltaReceivedEvent: _delta,
}
if SpanCancelled is not None:
    READERS[SpanCancelled] = _cancelled

"""A LangChain callback handler that records spans in an engine."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from ..contender import SESSION
from .engine import Engine


class Handler(BaseCallbackHandler):
    """A span for each chain, model and tool run."""

    run_inline = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._spans: dict[UUID, Any] = {}

    def _start(
        self, kind: str, serialized: Any, given: Any, run_id: UUID, above: UUID | None, name: str | None
    ) -> None:
        called = name or (serialized or {}).get("name") or kind
        spans = self._spans
        spans[run_id] = self._engine.start(called, kind, spans.get(above) if above else None, given, SESSION)

    def _end(self, outcome: Any, run_id: UUID) -> None:
        span = self._spans.pop(run_id, None)
        if span is not None:
            self._engine.end(span, outcome)

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        """A chain starts."""
        self._start("chain", serialized, inputs, run_id, parent_run_id, more.get("name"))

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        """A model starts."""
        self._start("generation", serialized, messages, run_id, parent_run_id, more.get("name"))

    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        """A tool starts."""
        self._start("tool", serialized, input_str, run_id, parent_run_id, more.get("name"))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **more: Any) -> None:
        """A chain ends."""
        self._end(outputs, run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **more: Any) -> None:
        """A model ends."""
        self._end(response, run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **more: Any) -> None:
        """A tool ends."""
        self._end(output, run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A chain fails."""
        self._end(error, run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A model fails."""
        self._end(error, run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **more: Any) -> None:
        """A tool fails."""
        self._end(error, run_id)

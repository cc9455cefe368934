"""A LlamaIndex span handler that records spans in an engine."""

from __future__ import annotations

from inspect import BoundArguments
from typing import Any

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span_handlers import NullSpanHandler

from ..contender import SESSION
from .engine import Engine

_spans: dict[str, Any] = {}
_engine: Engine


class Handler(NullSpanHandler):
    """Records a span for each span of LlamaIndex."""

    def span_enter(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any = None,
        parent_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """A span starts."""
        above = _spans.get(parent_id) if parent_id else None
        _spans[id_] = _engine.start(id_.partition("-")[0], "span", above, bound_args.arguments, SESSION)

    def span_exit(
        self, id_: str, bound_args: BoundArguments, instance: Any = None, result: Any = None, **more: Any
    ) -> None:
        """A span ends."""
        span = _spans.pop(id_, None)
        if span is not None:
            _engine.end(span, result)

    def span_drop(
        self, id_: str, bound_args: BoundArguments, instance: Any = None, err: Any = None, **more: Any
    ) -> None:
        """A span fails."""
        self.span_exit(id_, bound_args, instance, err)


def install(engine: Engine) -> None:
    """Record all spans of LlamaIndex in *engine*."""
    global _engine
    _engine = engine
    get_dispatcher().add_span_handler(Handler())

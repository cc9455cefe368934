"""Private names of LlamaIndex and its workflows: each is feature-detected and has a fallback."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from types import FrameType, FunctionType
from typing import Any

from llama_index.core.tools import function_tool
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import Dispatcher, active_instrument_tags
from llama_index_instrumentation.span import active_span_id
from workflows import Context
from workflows.handler import WorkflowHandler

from langfuse_integration.errors import SeamMoved

__all__ = [
    "CONTEXTS_HAVE_STAMPS",
    "ROOT",
    "RUN_STAYS_ACTIVE",
    "TOOLS_KEEP_CONTEXT",
    "SpanCancelled",
    "active_span_id",
    "bedrock_requests",
    "callers",
    "context_class",
    "frame_of",
    "has_span",
    "keep_context",
    "model_cells",
    "own_callback_manager",
    "require_model_seam",
    "require_retrieval_seam",
    "run_id",
    "run_id_of",
    "stamp_of",
    "tracer_of",
    "unspanned_classes",
    "waiting_events",
    "waits",
]

RUN_STAYS_ACTIVE = issubclass(WorkflowHandler, asyncio.Future)
"""Whether a run stays the active span of its caller after `run()` has returned.

True where `run()` returns a future (llama-index-workflows before 2.12): the dispatcher resets the active span in a copy
of the context, without effect. The caller's next spans are then no part of that run.
"""

ROOT: Dispatcher = get_dispatcher("root")
"""The dispatcher that every other one hands its spans and events to."""

TOOLS_KEEP_CONTEXT = hasattr(function_tool, "contextvars")
"""Whether a sync tool that async code calls runs in the context of its caller; see `keep_context`."""

_TO_ASYNC = "sync_to_async.<locals>._async_wrapped_fn"
_WRAPPER = "async_wrapper"
_WAITING = "captured_waiting"
_RUN = "run_workflow"
_FRAMES = 12


def _span_cancelled() -> type | None:
    try:
        from workflows.runtime.types.step_function import SpanCancelledEvent  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return None
    return SpanCancelledEvent


def _have_stamps() -> bool:
    try:
        from workflows.context.context_types import SerializedContext
    except ImportError:
        return False
    return "last_alive_stamp" in getattr(SerializedContext, "model_fields", ())


CONTEXTS_HAVE_STAMPS = _have_stamps()
"""Whether a saved context tells which run it is of: see `stamp_of`."""

SpanCancelled = _span_cancelled()
"""The event of a step or run that was cancelled and still exits cleanly; None before llama-index-workflows 2.14."""


def waits() -> bool:
    """Return whether the step whose span exits right now only waits for an event, and will run again.

    For calls from a span handler. The runtime keeps the exception that says so in a variable of the function inside the
    span (llama-index-workflows 2.14 to 2.26). Without it a waiting step counts as finished.
    """
    for frame in callers(_FRAMES):
        if frame.f_code.co_name != _WRAPPER:
            continue
        function = frame.f_locals.get("func")
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        if _WAITING not in names:
            return False
        cell = function.__closure__[names.index(_WAITING)]  # type: ignore[union-attr]
        return cell.cell_contents is not None
    return False


def callers(most: int) -> Iterator[FrameType]:
    """Yield at most *most* frames of this stack, beginning with the caller's caller."""
    frame = inspect.currentframe()
    frame = frame.f_back if frame is not None else None
    for _ in range(most):
        frame = frame.f_back if frame is not None else None
        if frame is None:
            return
        yield frame


def waiting_events(state: Any) -> Iterator[Any]:
    """Yield the events of waiting steps in *state*, the state that a run of a saved context starts from.

    The shape is that of llama-index-workflows 2.x; of another shape nothing is yielded.
    """
    workers = getattr(state, "workers", None)
    for worker in workers.values() if isinstance(workers, dict) else ():
        for place in ("collected_waiters", "queue", "in_progress"):
            for entry in getattr(worker, place, None) or ():
                yield getattr(entry, "event", None)


def context_class() -> type[Context[Any]]:
    """Return the class of a run's context, whose saved form a later run may continue."""
    return Context


def run_id() -> str | None:
    """Return the id of the run whose span starts or ends right now, or None.

    For calls from a span handler. The tag is set by `Context` (llama-index-workflows 2.12 to 2.26); a runtime that
    continues a run itself (llama-agents-dbos 0.7) does not set it, but the function around the span knows its adapter.
    """
    tagged = active_instrument_tags.get().get("llamaindex.run_id")
    if isinstance(tagged, str):
        return tagged
    for frame in callers(_FRAMES):
        if frame.f_code.co_name == _RUN:
            own = getattr(frame.f_locals.get("internal_adapter"), "run_id", None)
            return own if isinstance(own, str) else None
    return None


def run_id_of(context: Any) -> str | None:
    """Return the id of the run of a context, or None outside of a run and with releases that keep it elsewhere."""
    adapter = getattr(getattr(context, "_face", None), "_external_adapter", None)
    own = getattr(adapter, "run_id", None)
    return own if isinstance(own, str) else None


def stamp_of(state: Any) -> str | None:
    """Return what tells a run's saved state from any other one: its clock in microseconds and its count of events.

    llama-index-workflows 2.24 to 2.26; None where there is no clock, or the run has not begun.
    """
    stamp = state.get("last_alive_stamp") if isinstance(state, dict) else None
    return f"{stamp!r} {state.get('elapsed_alive')!r} {state.get('journal_seq')!r}" if stamp is not None else None


def tracer_of(handler: Any) -> Any:
    """Return the unwrapped tracer of another instrumentation's span handler.

    OpenInference 4.x keeps it as `_otel_tracer`, LlamaIndex's own as `_tracer`; None when neither is there.
    """
    tracer = getattr(handler, "_otel_tracer", None) or getattr(handler, "_tracer", None)
    for _ in range(5):
        inner = getattr(tracer, "__wrapped__", None) or getattr(tracer, "_real_tracer", None)
        if inner is None:
            break
        tracer = inner
    return tracer


def keep_context(tool: Any) -> None:
    """Make a sync tool that async code calls run in the context of its caller.

    Until llama-index-core 0.14.22 such a tool runs in a thread without the caller's context. This tool gets what later
    releases do; there nothing is changed.
    """
    if getattr(getattr(tool, "_async_fn", None), "__qualname__", "") != _TO_ASYNC:
        return
    function = inspect.getclosurevars(tool._async_fn).nonlocals.get("fn")
    if not callable(function):
        return

    async def in_context(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    tool._async_fn = in_context


def frame_of(generator: Any) -> FrameType | None:
    """Return the frame of an unfinished generator, sync or async; None for anything else."""
    return getattr(generator, "gi_frame", None) or getattr(generator, "ag_frame", None)


def unspanned_classes() -> list[type]:
    """Return the base classes some of whose methods have no span, as far as this release has them."""
    from llama_index.core.indices.base import BaseIndex
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.types import BasePydanticProgram

    return [BaseIndex, BaseNodePostprocessor, BasePydanticProgram]


BEDROCK = "Bedrock_Converse_LLM"
"""The name that Bedrock's client has in LlamaIndex's descriptions of models."""


def bedrock_requests() -> Iterator[tuple[Any, str]]:
    """Yield the module and the name of each function through which LlamaIndex's client asks Bedrock (0.15).

    Without them the row of a streamed answer does not tell why it stopped.
    """
    module = sys.modules.get("llama_index.llms.bedrock_converse.base")
    for name in ("converse_with_retry", "converse_with_retry_async"):
        if callable(getattr(module, name, None)):
            yield module, name


MODEL_METHODS = (
    "chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "astream_complete",
)  # fmt: skip
_CALLBACKS = ("llm_chat_callback", "llm_completion_callback")


def model_cells(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield each decorated method that a model class itself defines, with the variable of the undecorated function.

    `llm_chat_callback` and `llm_completion_callback` keep the function in a variable `f` of their wrapper
    (llama-index-core 0.14): what it is set to runs below the callbacks and events.
    """
    for name in MODEL_METHODS:
        cell = _undecorated(vars(kind).get(name))
        if cell is not None:
            yield name, cell


def _undecorated(function: Any) -> Any:
    found = None
    while function is not None:
        code = getattr(function, "__code__", None)
        names = getattr(code, "co_freevars", ())
        cells: dict[str, Any] = dict(zip(names, getattr(function, "__closure__", None) or (), strict=False))
        if "f" in cells and getattr(code, "co_qualname", "").startswith(_CALLBACKS):
            found = cells["f"]
            function = found.cell_contents
        else:
            inner = getattr(function, "__wrapped__", None)
            function = inner if callable(inner) else None
    return found


def require_model_seam() -> None:
    """Raise SeamMoved if the decorators of model methods are built in another way."""
    from llama_index.core.llms import callbacks

    def chat(self: Any, messages: Any) -> None:
        """Stand for a model's method."""

    for name in _CALLBACKS:
        if _undecorated(getattr(callbacks, name)()(chat)) is None:
            raise SeamMoved("llama-index-core", version("llama-index-core"), f"variable `f` in {name}")


def has_span(method: Any) -> bool:
    """Return whether a class's method is one that LlamaIndex put a span around, and keeps as `__wrapped__`."""
    return type(method) is not FunctionType and type(getattr(method, "__wrapped__", None)) is FunctionType


def require_retrieval_seam(retriever: type) -> None:
    """Raise SeamMoved if the methods around a retrieval have other names (llama-index-core 0.14)."""
    for name in ("_handle_recursive_retrieval", "_ahandle_recursive_retrieval"):
        if name not in vars(retriever):
            raise SeamMoved("llama-index-core", version("llama-index-core"), f"{retriever.__name__}.{name}")


def own_callback_manager(settings: Any) -> Any:
    """Return the callback manager that was set on *settings*, or None; none is created."""
    return getattr(settings, "_callback_manager", None)

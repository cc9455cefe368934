"""SessionHandler: LangChain's callbacks, one line of intent each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from langfuse_integration.internals import faults
from langfuse_integration.internals.faults import fault
from langfuse_integration.recording import ambient, model_calls, tracing

from . import agents, current, decisions, messages, orphans, private, remote_graphs, run_ends, run_starts, streams
from .binding import Binding
from .folding import NOT_PASSED
from .graphs import CHECKPOINTS
from .notes import NOTHING
from .states import ChainState, ModelState, RetrieverState, ToolState

_STARTING = "starting a LangChain run"
_STREAMING = "recording a LangChain token"
_ENDING = "ending a LangChain run"
_run = tracing.registry.get


class SessionHandler(BaseCallbackHandler):
    """Records LangChain and LangGraph runs under the right user session.

    One instance serves all users, threads and tasks: it keeps no state of a run. It may stand at a constructor, in a
    call's `config`, twice in one list, and beside `instrument()`: everything is recorded once.

    Args:
        session_id: session of the runs; None is the session that is active where a run starts.
        user_id: user of the runs; None is the active user.
        tags: short texts that Langfuse shows on the traces, besides the session's own.
        metadata: values by text keys that Langfuse shows on the traces, besides the session's own.

    Raises:
        ValueError: an id or tag is blank, too long or not printable.
        TypeError: an id or tag is no `str`, or *metadata* no mapping.
    """

    # Otherwise LangChain moves each callback of an async run to a thread: twice the cost, in a copied context.
    run_inline = True
    # Plain attributes: LangChain reads them at every callback, and its own properties take a call each.
    ignore_llm = ignore_chat_model = False  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_chain = ignore_agent = False  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_retriever = False  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_retry = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_custom_event = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(
        self,
        session_id: str | None = None,
        user_id: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._binding = Binding(session_id, user_id, tags, metadata)
        switch_on()
        tracing.hooks.ready()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        switch_on()  # a handler that was pickled may be the first one in its process

    @property
    def raise_error(self) -> bool:  # type: ignore[override]
        """Whether LangChain lets our own faults raise instead of logging them: only in our own tests."""
        return faults.strict

    # -- chains, graphs, agents

    @override
    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        run_type: Any = NOT_PASSED,
        **extra: Any,
    ) -> None:
        """Open a chain, graph, node or agent."""
        try:
            state = ChainState(run_id, parent_run_id, name or _name(serialized, "chain"), inputs, metadata, tags)
            if run_type == decisions.MODEL_KIND:
                decisions.announced(state)
            if CHECKPOINTS in extra:
                state.checkpoints = extra[CHECKPOINTS]
            run_starts.chain(self._binding, state, run_type)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, inputs: Any = NOT_PASSED, **extra: Any) -> None:
        """End a chain with its output."""
        try:
            run = _run(run_id.int)
            if run is not None:
                run_ends.chain(run, outputs, inputs)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, inputs: Any = NOT_PASSED, **extra: Any) -> None:
        """End a chain with an error, or in control flow."""
        try:
            run_ends.failed_chain(run_id, error, inputs)
        except Exception as ours:  # noqa: BLE001  our own fault
            fault(_ENDING, ours)

    def on_agent_action(self, action: Any, *, run_id: UUID, **extra: Any) -> None:
        """Keep the tool call that an AgentExecutor announces."""
        try:
            run = _run(run_id.int)
            if run is not None:
                agents.announce(run, action)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    # -- models

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        invocation_params: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        """Open a call of a chat model: LangChain announces one run for each prompt."""
        try:
            called: str = name or (serialized or NOTHING).get("name") or _name(serialized, "model")
            state = ModelState(run_id, parent_run_id, called, metadata, tags)
            state.structured = options is not None and "ls_structured_output_format" in options
            run_starts.model(self._binding, state, messages[0], invocation_params or {})
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **extra: Any) -> None:
        """Open a call of a model that takes text; tell the handlers that LangChain forgets beside an inline one."""
        try:
            missing = private.missing_starts(run_id.int)
            if missing is not None:
                handlers, awaited = missing
                awaited.append(private.tell_start(run_id.int, handlers, serialized, prompts, run_id=run_id, **extra))
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)
        self.on_chat_model_start(serialized, prompts, run_id=run_id, **extra)  # type: ignore[arg-type]

    def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **extra: Any) -> None:
        """Keep a part of a streamed answer, and the time of the first one."""
        run = _run(run_id.int)
        if run is None:
            return
        parts = run.state.parts
        if parts is not None and run.observation.first_token_ns and chunk is not None and parts[-1] is not chunk:
            parts.append(chunk)  # what `streams.token` comes to for nearly every token
            return
        try:
            streams.token(run, token, chunk)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STREAMING, error)

    def on_stream_event(self, event: Any, *, run_id: UUID, **extra: Any) -> None:
        """Keep a part of an answer that LangChain streams as an event."""
        try:
            run = _run(run_id.int)
            if run is not None:
                streams.event(run, event)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STREAMING, error)

    def on_llm_end(self, response: Any, *, run_id: UUID, **extra: Any) -> None:
        """End a model call with its answer."""
        try:
            run_ends.model(run_id, response)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: Any = None, **extra: Any) -> None:
        """End a model call with an error, or as given up half-way."""
        try:
            run_ends.failed_model(run_id, error, response)
        except Exception as ours:  # noqa: BLE001  our own fault
            fault(_ENDING, ours)

    # -- tools and retrievers

    @override
    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        **extra: Any,
    ) -> None:
        """Open a tool call."""
        try:
            called: str = name or (serialized or NOTHING).get("name") or _name(serialized, "tool")
            state = ToolState(run_id, parent_run_id, called, metadata, tags)
            run_starts.tool(self._binding, state, input_str if inputs is None else inputs, tool_call_id)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    def on_tool_end(self, output: Any, *, run_id: UUID, **extra: Any) -> None:
        """End a tool call with its output."""
        try:
            run_ends.tool(run_id, output)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **extra: Any) -> None:
        """End a tool call with an error, or in control flow."""
        try:
            run_ends.failed_leaf(run_id, error)
        except Exception as ours:  # noqa: BLE001  our own fault
            fault(_ENDING, ours)

    @override
    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **extra: Any,
    ) -> None:
        """Open a retrieval."""
        try:
            called: str = name or (serialized or NOTHING).get("name") or _name(serialized, "retriever")
            state = RetrieverState(run_id, parent_run_id, called, metadata, tags)
            run_starts.retriever(self._binding, state, query)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **extra: Any) -> None:
        """End a retrieval with its documents."""
        try:
            run_ends.retriever(run_id, documents)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **extra: Any) -> None:
        """End a retrieval with an error."""
        try:
            run_ends.failed_leaf(run_id, error)
        except Exception as ours:  # noqa: BLE001  our own fault
            fault(_ENDING, ours)


_switched_on = False


def switch_on() -> None:
    """Register LangChain with the core, at the first handler and not at import: its runs, types and lost runs."""
    global _switched_on
    if not _switched_on:
        _switched_on = True
        messages.register()
        ambient.register(current.source)
        model_calls.register(current.model_call)
        tracing.recorder.sweeps = (*tracing.recorder.sweeps, orphans.sweep)
        remote_graphs.hook(SessionHandler)


def _name(serialized: dict[str, Any] | None, otherwise: str) -> str:
    """Return the class name in *serialized*, which LangChain passes for a run without a name of its own."""
    if serialized:
        name = serialized.get("name")
        if name:
            return str(name)
        path = serialized.get("id")
        if path:
            return str(path[-1])
    return otherwise

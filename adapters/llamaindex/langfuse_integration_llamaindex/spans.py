"""The span handler: each span finds its role, and its role's opener."""

from __future__ import annotations

from collections.abc import Callable
from inspect import BoundArguments
from typing import Any

from llama_index.core.instrumentation.span_handlers import NullSpanHandler

from langfuse_integration.internals.faults import fault, shielded
from langfuse_integration.recording.tracing import recorder, registry

from . import agents, bindings, chats, folding, foreign, generations, models, rows, streams, tools, workflows
from .folding import Kind, Role
from .places import Fold, SpanPlace, folds
from .private import keep_context
from .tool_spans import ToolOfAct, ToolRun

_STARTING = "starting an observation of LlamaIndex"
_ENDING = "ending an observation of LlamaIndex"
_FAILING = "ending a failed observation of LlamaIndex"
_CARRYING = shielded("carrying a session into a workflow")
_ID_LENGTH = 37
"""Characters of the random part of a span's id, with its hyphen."""


class SpanHandler(NullSpanHandler):
    """Receives the spans of every dispatcher; `places` and the registry keep the open ones, LlamaIndex keeps none.

    LlamaIndex silently swallows errors of handlers, so ours are logged here.
    """

    def span_enter(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any = None,
        parent_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open the row or the fold of a span."""
        try:
            enter(id_, bound_args, instance, parent_id)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_STARTING, error)

    def span_exit(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        """End the row or fold of a span, with its result."""
        try:
            exit_(id_, result)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def span_drop(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any = None,
        err: BaseException | None = None,
        **kwargs: Any,
    ) -> None:
        """End the row or fold of a span, with its error."""
        try:
            drop(id_, err if err is not None else RuntimeError("dropped"))
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_FAILING, error)

    def capture_propagation_context(self) -> dict[str, Any]:
        """Return what a workflow that starts should carry along."""
        with _CARRYING:
            return bindings.capture()
        return {}

    def restore_propagation_context(self, context: dict[str, Any]) -> None:
        """Restore in a workflow's own context what it carried along."""
        with _CARRYING:
            bindings.restore(context)


class LastSpanHandler(NullSpanHandler):
    """Keeps the rows of streamed answers open where others have handlers, too.

    It replaces the generator in the answer when the others have seen it: they look it up by identity.
    """

    def span_exit(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: Any = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keep the row of a streamed answer open."""
        try:
            run = registry.get(id_) if streams.is_streamed(result) else None
            if run is not None:
                streams.keep_open(run, result)
        except Exception as error:  # noqa: BLE001  our own fault
            fault(_ENDING, error)

    def span_drop(self, *args: Any, **kwargs: Any) -> None:
        """The error of a span is left to SpanHandler."""


# -- starts


def enter(id_: str, bound: BoundArguments, instance: Any, parent_id: str | None) -> None:
    """Open the row of a span, or fold it."""
    name = id_[:-_ID_LENGTH]
    place = SpanPlace(parent_id)
    above = place.run
    if above is not None and place.fold is None and type(above.state) is workflows.WorkflowRun:
        if instance is None:
            agents.enter_step(id_, name, place, bound)
            return
        place.lift()  # only steps run directly in a run: the caller of the run started this one
    role = folding.role_of(instance, name)
    OPENERS[role.kind](id_, name, role, instance, place, bound)


def _enter_row(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    if instance is not None and _is_twin(role, instance, place):
        _fold(id_, place)
        return
    run = rows.open_row(id_, place, rows.name_of(instance, name), rows.RowState(role, instance), bound)
    if run is not None and role.type == "embedding":
        run.observation.model = models.asked_model(instance)
        if recorder.has_destinations or recorder.worker is None:
            models.note_provider(run.observation, instance)


def _is_twin(role: Role, instance: Any, place: SpanPlace) -> bool:
    """Return whether the row above is of the same object and kind: a private method of it, or an overridden one."""
    if place.run is None:
        return False
    state = place.run.state
    return state.instance is instance and state.role.type == role.type


def _enter_run(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    agents.enter_run(id_, instance, place, bound)


def _enter_model(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    generations.enter(id_, role, instance, place, bound)


def _enter_caller(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    if place.run is not None and isinstance(place.run.state, generations.LlmCall):
        _fold(id_, place)
        return
    rows.open_row(id_, place, name, rows.RowState(role, instance), bound)


def _enter_tool(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    keep_context(instance)
    above = place.run
    state = above.state if above is not None else None
    if isinstance(state, agents.Act) and not state.claimed:
        state.claimed = True
        folds.open(id_, ToolOfAct(above, above.key if above is not None else None, instance))
    elif isinstance(state, generations.LlmCall) or _is_same_tool(state, instance):
        _fold(id_, place)  # a "tool" in a model call only builds the object of a structured answer
    else:
        rows.open_row(id_, place, tools.name_of(instance), ToolRun(role, instance), bound)


def _is_same_tool(state: Any, instance: Any) -> bool:
    return isinstance(state, ToolRun) and (state.instance is instance or state.inner is instance)


def _enter_chat(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    above = place.run
    if above is not None and above.state.instance is instance:
        _fold(id_, place)
        return
    rows.open_row(id_, place, rows.name_of(instance, name), chats.ChatTurn(role, instance), bound)


def _enter_writer(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    folds.open(id_, chats.HistoryWriter(place.run, place.key, instance))


def _enter_indexing(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    state = place.run.state if place.run is not None else None
    if isinstance(state, rows.RowState) and state.role.kind is Kind.INDEXING:
        _fold(id_, place)
        return
    rows.open_row(id_, place, name, rows.RowState(role, instance), bound)


def _enter_plumbing(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> None:
    _fold(id_, place)


OPENERS: dict[Kind, Callable[[str, str, Role, Any, SpanPlace, BoundArguments], None]] = {
    Kind.ROW: _enter_row,
    Kind.RUN: _enter_run,
    Kind.MODEL: _enter_model,
    Kind.CALLER: _enter_caller,
    Kind.TOOL: _enter_tool,
    Kind.CHAT: _enter_chat,
    Kind.WRITER: _enter_writer,
    Kind.INDEXING: _enter_indexing,
    Kind.PLUMBING: _enter_plumbing,
}


def _fold(id_: str, place: SpanPlace) -> None:
    above = place.fold
    if above is None:
        folds.open(id_, Fold(place.run, place.key))
    else:
        folds.open(id_, Fold(place.run, place.key, above.think, in_model=above.in_model))


# -- ends


def exit_(id_: str, result: Any) -> None:
    """End the row or the fold of a span."""
    fold = folds.close(id_)
    if fold is not None:
        fold.exit(result)
        return
    run = registry.get(id_)
    if run is None:
        return
    if streams.is_streamed(result):
        if not foreign.others_present:
            streams.keep_open(run, result)
    else:
        run.state.exit(run, result)


def drop(id_: str, error: BaseException) -> None:
    """End the row or the fold of a span that failed."""
    fold = folds.close(id_)
    if fold is not None:
        fold.drop(error)
        return
    run = registry.get(id_)
    if run is not None:
        run.state.drop(run, error)

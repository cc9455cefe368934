"""The span handler: each span finds its role, and its role's opener."""

from __future__ import annotations

from collections.abc import Callable
from inspect import BoundArguments
from typing import Any

from llama_index.core.instrumentation.span_handlers import NullSpanHandler

from langfuse_integration.internals.faults import fault, shielded
from langfuse_integration.recording.tracing import recorder, registry

from . import agents, bindings, chats, foreign, generations, models, rows, streams, tools, workflows
from .folding import Kind, Role, role_of, roles
from .places import Fold, SpanPlace, folds, place_below
from .private import TOOLS_KEEP_CONTEXT, keep_context
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
    place = place_below(parent_id)
    above = place.run
    in_workflow = above is not None and not place.folded and type(above.state) is workflows.WorkflowRun
    if in_workflow and instance is None:
        fold = agents.enter_step(id_, name, place, bound)
    else:
        if in_workflow:
            place.lift()  # only steps run directly in a run: the caller of the run started this one
        role = roles.get((type(instance), name)) or role_of(instance, name)
        fold = OPENERS[role.kind](id_, name, role, instance, place, bound) if role.kind is not Kind.PLUMBING else place
    if fold is not None:
        folds.open(id_, fold)


# Each opens the row of one kind of span, or returns the fold of a span without one: its place, or what its end does.


def _enter_row(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    row_name = name.rpartition("<locals>.")[2]
    if instance is not None:
        state = place.run.state if place.run is not None else None
        # a private method of the object whose row is above, or an overridden one
        if state is not None and state.instance is instance and state.role.type == role.type:
            return place
        row_name = type(instance).__name__
    run = rows.open_row(id_, place, row_name, rows.RowState(role, instance), role.read(bound))
    if run is not None and role.type == "embedding":
        run.observation.model = models.asked_model(instance)
        if recorder.has_destinations or recorder.worker is None:
            models.note_provider(run.observation, instance)
    return None


def _enter_caller(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    if place.run is not None and isinstance(place.run.state, generations.LlmCall):
        return place
    rows.open_row(id_, place, name, rows.RowState(role, instance), role.read(bound))
    return None


def _enter_tool(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    if not TOOLS_KEEP_CONTEXT:
        keep_context(instance)
    state = place.run.state if place.run is not None else None
    if isinstance(state, agents.Act) and not state.claimed:
        state.claimed = True
        return ToolOfAct(place, instance)
    if isinstance(state, generations.LlmCall) or _is_same_tool(state, instance):
        return place  # a "tool" in a model call only builds the object of a structured answer
    rows.open_row(id_, place, tools.name_of(instance), ToolRun(role, instance), role.read(bound))
    return None


def _is_same_tool(state: Any, instance: Any) -> bool:
    return isinstance(state, ToolRun) and (state.instance is instance or state.inner is instance)


def _enter_chat(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    if place.run is not None and place.run.state.instance is instance:
        return place
    rows.open_row(id_, place, type(instance).__name__, chats.ChatTurn(role, instance), role.read(bound))
    return None


def _enter_writer(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    return chats.HistoryWriter(place, instance)


def _enter_indexing(
    id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments
) -> SpanPlace | None:
    state = place.run.state if place.run is not None else None
    if isinstance(state, rows.RowState) and state.role.kind is Kind.INDEXING:
        return place
    rows.open_row(id_, place, name, rows.RowState(role, instance), role.read(bound))
    return None


OPENERS: dict[Kind, Callable[[str, str, Role, Any, SpanPlace, BoundArguments], SpanPlace | None]] = {
    Kind.ROW: _enter_row,
    Kind.RUN: agents.enter_run,
    Kind.MODEL: generations.enter,
    Kind.CALLER: _enter_caller,
    Kind.TOOL: _enter_tool,
    Kind.CHAT: _enter_chat,
    Kind.WRITER: _enter_writer,
    Kind.INDEXING: _enter_indexing,
}
"""By the kind of a span; plumbing has none, it is folded as it is."""


# -- ends


def exit_(id_: str, result: Any) -> None:
    """End the row or the fold of a span."""
    run = registry.get(id_)
    if run is None:
        fold = folds.close(id_)
        if isinstance(fold, Fold):
            fold.exit(result)
    elif type(result).__name__ not in streams.RESPONSES or not streams.is_streamed(result):
        run.state.exit(run, result)
    elif not foreign.others_present:
        streams.keep_open(run, result)


def drop(id_: str, error: BaseException) -> None:
    """End the row or the fold of a span that failed."""
    run = registry.get(id_)
    if run is not None:
        run.state.drop(run, error)
        return
    fold = folds.close(id_)
    if isinstance(fold, Fold):
        fold.drop(error)

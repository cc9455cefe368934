"""What starts: where it stands, whose it is, and what is known of it by then."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langfuse_integration.encoding.history import History
from langfuse_integration.recording import tracing
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation, ObservationType
from langfuse_integration.recording.registry import FoldedRun, Run
from langfuse_integration.recording.snapshot import snapshot

from . import agents, folding, interrupts, messages, orphans, private
from .binding import Binding, named
from .current import span_inside
from .messages import Asked, Given
from .models import Call
from .notes import Notes
from .states import ChainState, LeafState, ToolState

registry = tracing.registry


def chain(
    binding: Binding,
    inputs: Any,
    run_id: UUID,
    parent_run_id: UUID | None,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    name: str,
    kind: Any,
) -> None:
    """Open a chain, graph, node or agent."""
    parent = _parent(parent_run_id)
    state = ChainState(name, inputs, metadata, tags)
    if parent is None:
        messages.register_graph_types()
        if "thread_id" in state.metadata:
            state.conversation = interrupts.threads.resumed(inputs, state.metadata, name)
        if type(inputs) is dict and "messages" in inputs:
            inputs = Given(snapshot(inputs))
    else:
        above = parent.state
        if above.__class__ is ChainState:
            if kind == "prompt":
                above.prompt = state.metadata.get("langfuse_prompt")
            elif above.prompt is not None:
                state.prompt = above.prompt
        if private.is_node(tags):
            state.node = True
            state.vanishes = name.endswith(private.MIDDLEWARE_HOOKS)
            agents.node_started(parent, name, inputs)
        if folding.folds(name, kind, state, parent):
            _fold(binding, run_id, parent, state)
            return
    run = _open(binding, run_id, parent, parent_run_id, name, "chain", inputs, state)
    if run is not None:
        run.observation.late = Notes(state.metadata, tags, parent)
        if state.conversation is not None:
            state.conversation.move(run.observation)
        agents.started(run)


def model(
    binding: Binding,
    asked: Any,
    run_id: UUID,
    parent_run_id: UUID | None,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    name: str,
    parameters: dict[str, Any],
    structured: bool,
) -> None:
    """Open a model call."""
    parent = _parent(parent_run_id)
    if parent is not None:
        folding.fold_wrapper(parent, name)
    tools = parameters.get("tools") or parameters.get("functions")
    if type(asked) is list:  # a model that takes text is given one
        asked = History(asked)
    if tools:
        asked = Asked(asked, tools)
    state = LeafState(metadata, tags)
    run = _open(binding, run_id, parent, parent_run_id, name, "generation", asked, state)
    if run is None:
        return
    state.call = run.observation.late = Call(state.metadata, tags, parent, parameters)
    run.observation.prompt = _prompt(state.metadata, parent)
    if parent is not None and not structured:
        agents.may_think(run, bool(tools))
    orphans.watch(run, run_id)


def tool(
    binding: Binding,
    inputs: Any,
    run_id: UUID,
    parent_run_id: UUID | None,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    name: str,
    call_id: str | None,
) -> None:
    """Open a tool call."""
    parent = _parent(parent_run_id)
    if type(inputs) is dict:
        inputs = {key: value for key, value in inputs.items() if type(value).__name__ not in private.HIDDEN_ARGUMENTS}
    state = ToolState(metadata, tags)
    run = _open(binding, run_id, parent, parent_run_id, name, "tool", inputs, state)
    if run is not None:
        run.observation.late = Notes(state.metadata, tags, parent)
        if parent is not None:
            agents.acted(run, call_id, inputs)
        orphans.watch(run, run_id)


def retriever(
    binding: Binding,
    query: str,
    run_id: UUID,
    parent_run_id: UUID | None,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    name: str,
) -> None:
    """Open a retrieval."""
    parent = _parent(parent_run_id)
    state = LeafState(metadata, tags)
    run = _open(binding, run_id, parent, parent_run_id, name, "retriever", query, state)
    if run is not None:
        run.observation.late = Notes(state.metadata, tags, parent)
        orphans.watch(run, run_id)


def _parent(parent_run_id: UUID | None) -> Run | None:
    """Return the run above. LangChain's fallbacks forget to tell it (langchain#36072), but run inside of it."""
    key = private.current_run_key() if parent_run_id is None else parent_run_id.int
    return None if key is None else registry.get(key)


def _open(
    binding: Binding,
    run_id: UUID,
    parent: Run | None,
    parent_run_id: UUID | None,
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    inputs: Any,
    state: ChainState | LeafState,
) -> Run | None:
    """Open a run that makes a row; None when another handler has done it."""
    if orphans.lost:
        orphans.sweep()
    if parent is None:
        run = _open_root(binding, run_id, parent_run_id, name, type, inputs, state)
    else:
        if not binding.empty:
            state.session = binding.session
            state.bound = True
        above = span_inside(parent)
        state.key, state.name, state.type, state.above = run_id.int, name, type, above
        run = tracing.open_run(state, inputs, parent)
        folding.use(parent)
    if run is None and not binding.empty:
        binding.rebind(registry.get(run_id.int))
    return run


def _open_root(
    binding: Binding,
    run_id: UUID,
    parent_run_id: UUID | None,
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    inputs: Any,
    state: ChainState | LeafState,
) -> Run | None:
    above: Parent | None = None
    if isinstance(state, ChainState):
        above = interrupts.place_for(state.conversation)
    if state.metadata or state.tags:
        state.named = named(state.metadata, state.tags)
    if not binding.empty:
        state.session = binding.session
        state.bound = True
    state.key, state.name, state.type = run_id.int, name, type
    state.parent_key = None if parent_run_id is None else parent_run_id.int
    state.above = above
    return tracing.open_run(state, inputs)


def _fold(binding: Binding, run_id: UUID, parent: Run, state: ChainState) -> None:
    def make(run: FoldedRun) -> Observation:
        session = run.anchor.session if binding.empty else binding.over(run.anchor.session)
        observation = Observation(state.name, "chain", tracing.recorder, run.anchor, (session, run.anchor.origin))
        observation.late = Notes(state.metadata, state.tags, parent)
        return observation

    state.key, state.above = run_id.int, span_inside(parent)
    tracing.fold_run(state, parent, make)


def _prompt(metadata: dict[str, Any], parent: Run | None) -> tuple[str, int | None] | None:
    """Return the Langfuse prompt that a model call was made from: its own, or that of the template before it.

    The prompt client stands in the metadata as `langfuse_prompt`, as the Langfuse SDK documents it (SDK 2 to 5).
    """
    prompt = metadata.get("langfuse_prompt")
    if prompt is None and parent is not None and parent.state.__class__ is ChainState:
        prompt = parent.state.prompt
    if prompt is None or getattr(prompt, "is_fallback", False) or not hasattr(prompt, "name"):
        return None
    return prompt.name, getattr(prompt, "version", None)

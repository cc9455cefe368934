"""What starts: where it stands, whose it is, and what is known of it by then."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from langfuse_integration import tracing
from langfuse_integration.observation import ObservationType
from langfuse_integration.payload import snapshot
from langfuse_integration.registry import Run

from . import agents, folding, interrupts, messages, models, orphans, private
from .binding import Binding, suggested
from .current import span_inside
from .messages import Asked, Given, Parameters
from .notes import notes
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
    state = ChainState(inputs, metadata, tags, private.is_node(tags))
    folded = False
    if parent is not None:
        if state.node:
            agents.node_started(parent)
            state.vanishes = name.endswith(private.MIDDLEWARE_HOOKS)
        folded = folding.folds(name, kind, state, parent)
        if kind == "prompt" and type(parent.state) is ChainState:
            parent.state.prompt = state.metadata.get("langfuse_prompt")
    elif "ls_integration" in state.metadata:
        messages.register_graph_types()
        state.conversation = interrupts.threads.resumed(inputs, state.metadata, name)
        if type(inputs) is dict and "messages" in inputs:
            inputs = Given(snapshot(inputs))
    run = _open(binding, run_id, parent, parent_run_id, name, "chain", None if folded else inputs, state, folded)
    if run is not None:
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
    if tools:
        asked = Asked(snapshot(asked), tools)
    state = LeafState(metadata, tags)
    run = _open(binding, run_id, parent, parent_run_id, name, "generation", asked, state)
    if run is None:
        return
    observation = run.observation
    observation.model = models.asked_model(state.metadata, parameters)
    observation.model_parameters = Parameters(parameters)  # type: ignore[assignment]  # becomes a mapping when written
    observation.prompt = _prompt(state.metadata, parent)
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
    run = _open(binding, run_id, parent, parent_run_id, name, "tool", inputs, ToolState(metadata, tags))
    if run is not None:
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
    run = _open(binding, run_id, parent, parent_run_id, name, "retriever", query, LeafState(metadata, tags))
    if run is not None:
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
    folded: bool = False,
) -> Run | None:
    if orphans.lost:
        orphans.sweep()
    above = session = named = None
    if parent is None:
        parent_key = None if parent_run_id is None else parent_run_id.int
        if isinstance(state, ChainState):
            above = interrupts.place_for(state.conversation)
        if state.metadata or not binding.empty:
            active = tracing.store.current()
            named = suggested(state.metadata, active)
            session = None if binding.empty else binding.over(named or active)
    else:
        parent_key = parent.key  # type: ignore[assignment]
        above = span_inside(parent)
        if not binding.empty:
            session = binding.over(parent.observation.session)
        if isinstance(parent.state, ChainState):
            parent.state.used = True
    state.bound = session is not None
    run = tracing.open_run(
        run_id.int,
        parent_key,
        name,
        type,
        input=inputs,
        metadata=None if folded else notes(state.metadata, state.tags, parent),
        session=session,
        suggested=named,
        above=above,
        folded=folded,
        state=state,
    )
    if run is None and not binding.empty:
        binding.rebind(registry.get(run_id.int))
    return run


def _prompt(metadata: dict[str, Any], run: Run | None) -> tuple[str, int | None] | None:
    """Return the Langfuse prompt that a model call was made from: its own, or that of the template before it.

    The prompt client stands in the metadata as `langfuse_prompt`, as the Langfuse SDK documents it (SDK 2 to 5).
    """
    prompt = metadata.get("langfuse_prompt")
    while prompt is None and run is not None and isinstance(run.state, ChainState):
        prompt, run = run.state.prompt, run.parent
    if prompt is None or getattr(prompt, "is_fallback", False) or not hasattr(prompt, "name"):
        return None
    return prompt.name, getattr(prompt, "version", None)

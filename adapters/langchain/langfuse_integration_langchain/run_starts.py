"""Starts of runs: parent, session and attributes of a run."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording import tracing
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.otel_api import SPAN_KEY, get_context
from langfuse_integration.recording.registry import FoldedRun, Run
from langfuse_integration.recording.snapshot import snapshot

from . import agents, decisions, folding, interrupts, messages, orphans, private, prompts
from .binding import Binding, named, named_by_thread
from .current import span_inside
from .lost_runs import lost
from .messages import ChatRequest, GraphInput
from .models import ModelCall
from .notes import RunNotes
from .states import ChainState, LeafState, ModelState, RetrieverState, ToolState

_get = tracing.registry.get


def chain(binding: Binding, state: ChainState, run_type: Any) -> None:
    """Open a chain, graph, node or agent; *run_type* as in `folding.folds`."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    inputs = state.inputs
    if parent is not None and parent.folded and parent.state.name == private.AGENT_CALLER:
        parent = parent.parent
    if parent is None:
        messages.register_graph_types()
        if state.name == private.UNNAMED_GRAPH:
            _name_by_server(state)
        state.placed = state.metadata.get("ls_integration") not in private.AGENTS
        if "thread_id" in state.metadata:
            state.conversation = interrupts.resumed(state)
        if type(inputs) is dict and "messages" in inputs:
            inputs = GraphInput(snapshot(inputs))
    else:
        if state.name == private.UNNAMED_GRAPH and parent.state.__class__ is ToolState:
            _name_by_tool(state, parent)
        _relate(state, parent, run_type)
        if folding.folds(state, run_type, parent):
            _fold(binding, state, parent)
            return
    run = _open(binding, state, inputs, parent)
    if run is not None:
        run.observation.late = state.notes(state.metadata, state.tags, parent)
        if state.conversation is not None:
            interrupts.go_on(run, state, state.conversation)
        agents.started(run)


def model(binding: Binding, state: ModelState, request: Any, parameters: dict[str, Any]) -> None:
    """Open a model call; *request* is a list of messages, or a text."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    if parent is not None:
        if parent.folded and parent.state.step and private.position(state.tags) == "step":
            folding.show_step(parent)
        folding.fold_wrapper(parent, state.name)
        if decisions.are_used:
            decisions.model_starts_below(parent)
    tools = parameters.get("tools") or parameters.get("functions")
    given = request
    if type(request) is list:
        request = snapshot(request)
    if tools:
        request = ChatRequest(request, tools)
    run = _open(binding, state, request, parent)
    if run is None:
        return
    state.call = run.observation.late = ModelCall(state.metadata, state.tags, parent, parameters)
    run.observation.prompt = prompts.prompt_of(state.metadata, parent, given)
    if parent is None:
        orphans.watch_task(run)
    elif not state.structured:
        agents.may_think(run, bool(tools))


def tool(binding: Binding, state: ToolState, inputs: Any, call_id: str | None) -> None:
    """Open a tool call; *call_id* is the id that the model gave it, None if LangChain does not pass it."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    if type(inputs) is dict:
        inputs = {key: value for key, value in inputs.items() if type(value).__name__ not in private.HIDDEN_ARGUMENTS}
    state.call_id = call_id
    run = _open(binding, state, inputs, parent)
    if run is None:
        return
    run.observation.late = RunNotes(state.metadata, state.tags, parent)
    if parent is None:
        orphans.watch_task(run)
    else:
        agents.acted(run, call_id, inputs)


def retriever(binding: Binding, state: RetrieverState, query: str) -> None:
    """Open a retrieval."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    run = _open(binding, state, query, parent)
    if run is None:
        return
    run.observation.late = RunNotes(state.metadata, state.tags, parent)
    if parent is None:
        orphans.watch_task(run)


def _running() -> Run | None:
    """Return the run whose code runs here: LangChain's fallbacks do not pass its id (langchain#36072)."""
    key = private.current_run_key()
    return None if key is None else _get(key)


def _open(binding: Binding, state: ChainState | LeafState, inputs: Any, parent: Run | None) -> Run | None:
    """Open a run that makes a row; None when another handler has opened it."""
    if lost:
        orphans.sweep()
    if parent is None:
        run = _open_root(binding, state, inputs)
    else:
        if not binding.empty:
            state.session = binding.session
            state.bound = True
        if SPAN_KEY in get_context():
            state.above = span_inside(parent)
        state.placed = parent.state.placed
        run = tracing.open_run(state, inputs, parent)
        if run is not None:
            folding.use(parent)
    if run is None and not binding.empty:
        binding.rebind(_get(state.key))
    return run


def _open_root(binding: Binding, state: ChainState | LeafState, inputs: Any) -> Run | None:
    if state.metadata or state.tags:
        state.named = named(state.metadata, state.tags)
        if "thread_id" in state.metadata:
            state.named = named_by_thread(state.metadata, state.named)
    if not binding.empty:
        state.session = binding.session
        state.bound = True
    if not isinstance(state, ChainState):
        return tracing.open_run(state, inputs)
    if state.conversation is not None:
        state.above = interrupts.anchor_of(state, state.conversation)
    run = tracing.open_run(state, inputs)
    if run is not None:
        orphans.watch_loop(run)
    return run


def _fold(binding: Binding, state: ChainState, parent: Run) -> None:
    def make(run: FoldedRun) -> Observation:
        session = run.anchor.session if binding.empty else binding.over(run.anchor.session)
        observation = Observation(state.name, "chain", tracing.recorder, run.anchor, (session, run.anchor.origin))
        observation.late = RunNotes(state.metadata, state.tags, parent)
        return observation

    if SPAN_KEY in get_context():
        state.above = span_inside(parent)
    state.placed = parent.state.placed
    tracing.fold_run(state, parent, make)


def _name_by_server(state: ChainState) -> None:
    """Name a graph without a name as LangGraph Server calls it."""
    served = state.metadata.get(private.SERVED_GRAPH)
    if isinstance(served, str) and served:
        state.name = served
    else:
        state.unnamed = True


def _name_by_tool(state: ChainState, tool: Run) -> None:
    """Name a graph without a name after the agent that the tool around it was asked for, else after the tool."""
    inputs = tool.observation.input
    agent = inputs.get(private.SUBAGENT_ARGUMENT) if isinstance(inputs, dict) else None
    state.name = agent if isinstance(agent, str) and agent else tool.state.name


def _relate(state: ChainState, parent: Run, run_type: Any) -> None:
    """Set the role of a chain run in the run above: a node of a graph, a step of a sequence, a template."""
    position = state.position = private.position(state.tags)
    if run_type == "prompt":
        state.given = prompts.formatted(state.metadata, parent, in_sequence=position == "step")
    if position == "node":
        state.node = True
        state.vanishes = state.name.endswith(private.MIDDLEWARE_HOOKS)
        if parent.state.__class__ is ChainState and parent.state.asks_node:
            interrupts.first_node(parent, state)
        agents.node_started(parent, state)
    elif position == "step":
        if state.name == private.PREBUILT_PROMPT:
            agents.prompted(parent)
        if parent.folded and parent.state.step:
            folding.show_step(parent)
        node = state.metadata.get(private.NODE_KEY)  # a task of LangGraph's functional API is a node of its own
        state.node = node == state.name != parent.state.metadata.get(private.NODE_KEY)

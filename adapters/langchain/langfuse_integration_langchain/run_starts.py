"""Starts of runs: parent, session and attributes of a run."""

from __future__ import annotations

from functools import partial
from typing import Any

from langfuse_integration.recording import tracing
from langfuse_integration.recording.otel_api import SPAN_KEY, get_context
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot

from . import agents, decisions, folding, interrupts, messages, orphans, private, prompts
from .binding import Binding, named, named_by_thread
from .current import span_inside
from .decisions import DecisionCall
from .folding import NOT_PASSED
from .lost_runs import lost
from .messages import ChatRequest, GraphInput
from .models import ModelCall
from .notes import NOBODY, note
from .states import ChainState, LeafState, ModelState, RetrieverState, ToolState

_get = tracing.registry.get


def chain(binding: Binding, state: ChainState, run_type: Any) -> None:
    """Open a chain, graph, node or agent; *run_type* as in `folding.folds`."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    inputs = state.inputs
    if parent is not None and parent.folded and parent.state.name == private.AGENT_CALLER:
        parent = parent.parent
    if parent is None:
        inputs = _prepare_root(state)
    else:
        tags, node_tag = state.tags or (), f"{private.NODE_TAG}{state.metadata.get(private.STEP_KEY)}"
        if state.name in parent.state.plumbing and run_type is NOT_PASSED and node_tag in tags:
            state.node = True  # what `_relate` and `folds` come to for all nodes of an agent but the first
            state.thinker = parent
            state.task = _task(state, parent) if "thread_id" in parent.state.metadata else None
        else:
            _relate(state, parent, run_type)
        if state.thinker is not None or folding.folds(state, run_type, parent):
            state.binding = binding
            state.placed = parent.state.placed
            if SPAN_KEY in get_context():
                state.above = span_inside(parent)
            tracing.fold_run(state, parent)
            return
    run = _open(binding, state, inputs, parent)
    if run is None:
        return
    above = NOBODY if parent is None else parent.state
    run.observation.late = notes = partial(note, state.metadata, state.tags, above.metadata, above.tags, above.placed)
    if state.type == "generation":
        run.observation.late = DecisionCall(state.metadata, notes)
    if state.conversation is not None:
        interrupts.go_on(run, state, state.conversation)
    agents.started(run)


def model(binding: Binding, state: ModelState, request: Any, parameters: dict[str, Any]) -> None:
    """Open a model call; *request* is a list of messages, or a text."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    if parent is not None:
        if parent.folded and parent.state.step and private.position(state.tags) == "step":
            folding.show_step(parent)
        if parent.state.name == state.name:
            folding.fold_wrapper(parent)
        if decisions.are_used:
            decisions.model_starts_below(parent)
    tools = parameters.get("tools") or parameters.get("functions")
    run = _open(binding, state, request, parent)
    if run is None:
        return
    observation = run.observation
    if tools:
        observation.input = ChatRequest(observation.input, tools)
    above = NOBODY if parent is None else parent.state
    notes = partial(note, state.metadata, state.tags, above.metadata, above.tags, above.placed)
    state.call = observation.late = ModelCall(state.metadata, notes, parameters)
    if prompts.noticed or prompts.PROMPT_KEY in state.metadata:
        observation.prompt = prompts.prompt_of(state.metadata, parent, request)
    if parent is None:
        orphans.watch_task(run)
    elif not state.structured:
        agents.may_think(run, parent, bool(tools))


def tool(binding: Binding, state: ToolState, inputs: Any, call_id: str | None) -> None:
    """Open a tool call; *call_id* is the id that the model gave it, None if LangChain does not pass it."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    if type(inputs) is dict:
        for value in inputs.values():
            if type(value).__name__ in private.HIDDEN_ARGUMENTS:
                inputs = private.told_arguments(inputs)
                break
    state.call_id = call_id
    run = _open(binding, state, inputs, parent)
    if run is None:
        return
    above = NOBODY if parent is None else parent.state
    run.observation.late = partial(note, state.metadata, state.tags, above.metadata, above.tags, above.placed)
    if parent is None:
        orphans.watch_task(run)
    else:
        agents.acted(run, parent, call_id, inputs)


def retriever(binding: Binding, state: RetrieverState, query: str) -> None:
    """Open a retrieval."""
    parent = _get(state.parent_key) if state.parent_key is not None else _running()
    run = _open(binding, state, query, parent)
    if run is None:
        return
    above = NOBODY if parent is None else parent.state
    run.observation.late = partial(note, state.metadata, state.tags, above.metadata, above.tags, above.placed)
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


def _prepare_root(state: ChainState) -> Any:
    """Set what a root run is told by: its name, its place in a conversation; return its input as the row takes it."""
    messages.register_graph_types()
    if state.name == private.UNNAMED_GRAPH:
        _name_by_server(state)
    state.placed = state.metadata.get("ls_integration") not in private.AGENTS
    if "thread_id" in state.metadata:
        state.conversation = interrupts.resumed(state)
    inputs = state.inputs
    return GraphInput(snapshot(inputs)) if type(inputs) is dict and "messages" in inputs else inputs


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


def _task(node: ChainState, graph: Run) -> str | None:
    """Return the id of the task that a node directly below a root runs, else None."""
    return node.metadata.get(private.TASK_KEY) if graph.parent is None else None


def _relate(state: ChainState, parent: Run, run_type: Any) -> None:
    """Set the role of a chain run in the run above: a node of a graph, a step of a sequence, a template."""
    if state.name == private.UNNAMED_GRAPH and parent.state.__class__ is ToolState:
        _name_by_tool(state, parent)
    position = state.position = private.position(state.tags)
    if run_type == "prompt":
        state.given = prompts.formatted(state.metadata, parent, in_sequence=position == "step")
    if position == "node":
        state.node = True
        state.vanishes = state.name.endswith(private.MIDDLEWARE_HOOKS)
        graph = parent.state
        if graph.__class__ is ChainState:
            if graph.asks_node:
                interrupts.first_node(parent, state)
            if not graph.graph:
                agents.first_node_started(parent, state)
            state.task = _task(state, parent) if "thread_id" in graph.metadata else None
    elif position == "step":
        if state.name == private.PREBUILT_PROMPT:
            agents.prompted(parent)
        if parent.folded and parent.state.step:
            folding.show_step(parent)
        node = state.metadata.get(private.NODE_KEY)  # a task of LangGraph's functional API is a node of its own
        state.node = node == state.name != parent.state.metadata.get(private.NODE_KEY)

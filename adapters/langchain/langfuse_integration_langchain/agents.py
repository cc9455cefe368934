"""Agents and their steps: which run is an agent, which model call decides for it, and which tool call carries that out.

An agent is a graph that LangChain made as one, an AgentExecutor, or any graph in which a model was offered tools or
asked for some. A think is a model call in it, an act a tool call that a think asked for; neither counts below a tool,
where another agent may work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.steps import AgentSteps

from . import messages, private
from .folding import equal, fold_into, show_step, use
from .interrupts import conversation_of, ended
from .states import ChainState, ModelState, ToolState

ACTIONS_LIMIT = 1_000


def started(run: Run) -> None:
    """Make an agent of a root run or executor that LangChain marks as one."""
    state: ChainState = run.state
    if state.name == private.EXECUTOR and not state.metadata.get("ls_integration"):
        _become_agent(run)
    elif run.parent is None and state.metadata.get("ls_integration") in private.AGENTS:
        state.thinks_in = private.THINKING_NODE
        _become_agent(run)


def first_node_started(graph: Run, node: ChainState) -> None:
    """Mark *graph* as a graph, now that a node of it has started."""
    state: ChainState = graph.state
    is_graph(graph)
    if state.unnamed and state.first_node is None:
        state.first_node = node.name
    if state.steps is None and private.is_agent(state.metadata, node.name, node.inputs):
        state.thinks_in = private.THINKING_NODE
        _become_agent(graph)
    if state.thinks_in is not None:
        state.plumbing = frozenset((state.thinks_in, private.TOOLS_NODE))


def is_graph(run: Run) -> None:
    """Mark *run* as a graph; a folded step of a node has its row then."""
    run.state.graph = True
    run.state.thinker = None  # of what is below, it is this run itself
    if run.folded and not run.state.double:
        show_step(run)


def prompted(run: Run) -> None:
    """Make an agent of the graph around *run*, in which LangGraph's prebuilt agent is about to call its model."""
    node = next((above for above in run.lineage() if above.state.__class__ is ChainState and above.state.node), None)
    graph = node.parent if node is not None else None
    if node is None or graph is None or node.state.name != private.PREBUILT_NODE:
        return
    state: ChainState = graph.state
    if state.thinks_in is None:
        state.thinks_in = private.PREBUILT_NODE
        state.plumbing = frozenset((private.PREBUILT_NODE, private.TOOLS_NODE))
        if state.steps is None:
            _become_agent(graph)
        fold_into(run, graph)


def may_think(run: Run, parent: Run, has_tools: bool) -> None:
    """Mark a model call as a think of the agent around it, or keep the agent in case the answer calls tools."""
    thinker = parent.state.thinker or _thinker(parent)
    state: ModelState = run.state
    if thinker is None or not private.INTERNAL_CALLS.isdisjoint(state.metadata):
        return
    agent: ChainState = thinker.state
    if agent.thinks_in is not None and state.metadata.get("langgraph_node") != agent.thinks_in:
        return
    state.thinker = thinker
    if has_tools or agent.thinks_in is not None or not agent.graph:
        state.steps = steps = agent.steps or _become_agent(thinker)
        steps.think(run.observation)


def decided(run: Run, calls: Iterable[Any]) -> None:
    """Record the tool calls in a model's answer; a call that has some is a think."""
    state: ModelState = run.state
    if state.steps is None and state.thinker is not None:
        state.steps = steps = state.thinker.state.steps or _become_agent(state.thinker)
        steps.think(run.observation)
    if state.steps is not None:
        # Loops, since each comprehension is a call before Python 3.12.
        named: list[tuple[str | None, str]] = []
        pending: list[tuple[Any, Any, Any]] = []
        for call in calls:
            name, call_id = call.get("name"), call.get("id")
            named.append((call_id, str(name or private.UNNAMED_TOOL)))
            pending.append((name, call.get("args"), call_id))
        state.steps.decide(run.observation, named)
        if state.thinker is not None:
            agent: ChainState = state.thinker.state
            agent.pending = asked = agent.pending if agent.pending is not None else []
            asked += pending
            if len(asked) > 2 * ACTIONS_LIMIT:  # not with each call, which would copy all that is left
                del asked[:-ACTIONS_LIMIT]


def acted(run: Run, parent: Run, call_id: str | None, inputs: Any) -> None:
    """Mark a tool call as an act, if an agent asked for it."""
    thinker = parent.state.thinker or _thinker(parent)
    if thinker is None:
        return
    agent: ChainState = thinker.state
    announced = agent.actions is not None  # by an executor, which has no ids where models write calls as text
    if call_id is None:
        call_id = _call_id(agent if announced else parent.state, run.observation.name, inputs)
        if call_id is None and not announced:
            call_id = _pending_id(agent, run.observation.name, inputs)
            if call_id is None:
                return
    run.state.call_id = call_id
    steps = agent.steps
    if call_id is not None and (steps is None or call_id not in steps.decided):
        steps = _who_decided(run, call_id) or steps
    if steps is not None:
        steps.act(run.observation, call_id)


def announce(run: Run, action: Any) -> None:
    """Keep a tool call that an AgentExecutor is about to make: its tool run comes without the call's id."""
    state = run.state
    if type(state) is not ChainState:
        return
    if state.steps is None:
        _become_agent(run)
    actions = state.actions = state.actions or []
    if len(actions) < ACTIONS_LIMIT:
        actions.append((action.tool, action.tool_input, getattr(action, "tool_call_id", None)))


def closed(run: Run, outputs: Any) -> None:
    """Record on an agent's row the tool calls that were never made; remember what a later run may resume."""
    state: ChainState = run.state
    steps = state.steps
    if steps is not None and (len(steps.decided) > len(steps.answered) or state.interrupted):
        _answer(steps, outputs)
        if not state.interrupted:
            steps.close(_row(run).observation)
        if state.interrupted or steps.unanswered():
            conversation_of(run.root).agents[steps.name] = steps
    if run.parent is None:
        ended(run)


def node_ended(node: Run, steps: AgentSteps, outputs: Any) -> None:
    """Record the answers to tool calls that a node gives itself: an error makes a row, since no tool ran."""
    for message in messages.tool_messages(outputs):
        call_id = message.tool_call_id
        if call_id not in steps.decided or (call_id in steps.answered):
            continue
        if message.status != "error":
            steps.withdraw(call_id)
            continue
        row = tracing.start_below(node.anchor, steps.decided[call_id].name, "tool", input=_arguments(node, call_id))
        steps.act(row, call_id)
        row.level, row.status_message = "ERROR", str(message.content)
        row.finish(message.content)
        use(node)


def _answer(steps: AgentSteps, outputs: Any) -> None:
    """Remove the calls that the agent answered itself, as for structured output: they call no tool."""
    for message in messages.tool_messages(outputs):
        if message.status != "error":
            steps.withdraw(message.tool_call_id)


def _pending_id(agent: ChainState, tool: str, inputs: Any) -> str | None:
    """Return the id of the call of *tool* with these arguments that was asked for and not made yet."""
    steps = agent.steps
    for name, arguments, call_id in agent.pending or () if steps is not None else ():
        open_call = isinstance(call_id, str) and steps is not None and call_id not in steps.answered
        if open_call and name == tool and equal(arguments, inputs):
            return str(call_id)
    return None


def _arguments(node: Run, call_id: str) -> Any:
    """Return the arguments of a tool call, or None."""
    pending = node.parent.state.pending if node.parent is not None else None
    return next((arguments for _, arguments, known_id in pending or () if known_id == call_id), None)


def _become_agent(run: Run) -> AgentSteps:
    """Make an agent of *run*; return its steps."""
    state: ChainState = run.state
    row = _row(run)
    name = state.metadata.get("lc_agent_name") or state.name
    if row is not run and name != private.UNNAMED_GRAPH:
        row.observation.name = name
    row.observation.type = "agent"
    if not row.observation.app_root:
        tracing.recorder.opened(row.observation)
    shown = row.observation.name
    state.steps = steps = conversation_of(run.root).steps_of(shown if shown != private.UNNAMED_GRAPH else None)
    return steps


def _row(run: Run) -> Run:
    """Return the run whose row stands for *run*."""
    while run.folded and run.parent is not None and type(run.state) is ChainState and run.state.double:
        run = run.parent
    return run


def _thinker(run: Run | None) -> Run | None:
    """Return the nearest agent or graph above *run* that no tool call separates from it."""
    while run is not None:
        state = run.state
        if isinstance(state, ToolState):
            return None
        if type(state) is ChainState and (state.steps is not None or state.graph):
            return run
        run = run.parent
    return None


def _who_decided(run: Run, call_id: str) -> AgentSteps | None:
    """Return the steps of another agent of this trace that made the call: a graph may hand on to another."""
    root = run.root
    if type(root.state) is not ChainState or root.state.conversation is None:
        return None
    return next((steps for steps in reversed(conversation_of(root).steps) if call_id in steps.decided), None)


def _call_id(state: Any, tool: str, inputs: Any) -> str | None:
    """Return the id of a call that an executor announced, or that stands in the input of the node that makes it."""
    if type(state) is not ChainState:
        return None
    exactly = state.actions is None
    if state.actions is None:
        state.actions = [(call.get("name"), call.get("args"), call.get("id")) for call in _calls_in(state.inputs)]
    same = [action for action in state.actions if action[0] == tool]
    exact = [action for action in same if action[1] == inputs]
    for action in (exact or ([] if exactly or state.node else same))[:1]:
        state.actions.remove(action)
        return action[2]
    return None


def _calls_in(inputs: Any) -> list[Any]:
    """Return the tool calls in the input of a node: those of the last message, or those that LangGraph sent there."""
    if isinstance(inputs, dict):
        sent = inputs.get("tool_call")
        if isinstance(sent, dict):
            return [sent]
        inputs = inputs.get("messages") or _list_with_calls(inputs)
    if not isinstance(inputs, list) or not inputs:
        return []
    last = inputs[-1]
    if isinstance(last, dict):
        return [call for call in inputs if isinstance(call, dict) and "args" in call]
    return list(getattr(last, "tool_calls", None) or ())


def _list_with_calls(state: dict[str, Any]) -> Any:
    """Return the list of a graph's state whose last message calls tools, whatever its name."""
    return next((v for v in state.values() if isinstance(v, list) and v and getattr(v[-1], "tool_calls", None)), None)

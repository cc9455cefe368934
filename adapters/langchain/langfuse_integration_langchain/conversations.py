"""Conversations: the trace and the agents' steps of a root run, kept for the run that resumes it.

LangGraph ends the root run of an interrupted graph as any other; the answer comes as a new root run, with the thread's
id and a `Command(resume=...)`. In the same session both become roots of one trace; in another session the resumed run
begins a trace of its own, since Langfuse lists a trace in one session only. The steps of the agents go on in either
case, so that a tool which runs again is linked to the think that asked for it. Workers that share a store share that.
"""

from __future__ import annotations

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.internals.faults import shielded
from langfuse_integration.internals.resets import on_reset
from langfuse_integration.recording import resumption
from langfuse_integration.recording.anchor import Anchor, Parent
from langfuse_integration.recording.steps import AgentSteps

from . import private
from .graphs import UNKNOWN, GraphKey

THREADS_LIMIT = 1_000
"""Threads of LangGraph that are remembered for their next run."""
AGENTS_LIMIT = 100
"""Agents of one root run whose steps are remembered."""
_SHARING = shielded("sharing an interrupted trace with other workers")


class Conversation:
    """The part of a root run that outlives it.

    Attributes:
        anchor: names the trace and no span: a run under it is one more root of that trace.
        root: the anchor of the last root run.
        name: of its row.
        agents: steps of agents that go on in the next run, by the agent's name.
        steps: steps of all agents so far.
    """

    __slots__ = ("agents", "anchor", "name", "root", "steps")

    def __init__(self, root: Parent) -> None:
        self.move(root)
        self.name = ""
        self.agents: dict[str | None, AgentSteps] = {}
        self.steps: list[AgentSteps] = []

    def move(self, root: Parent) -> None:
        """Continue in the trace of *root*."""
        self.anchor = resumption.trace_of(root)
        self.root = Anchor.of(root)

    def steps_of(self, name: str | None) -> AgentSteps:
        """Return the steps of an agent: those at which it was interrupted, otherwise new ones."""
        steps = self.agents.pop(name, None)
        if steps is None:
            steps = AgentSteps(name)
            if len(self.steps) < AGENTS_LIMIT:
                self.steps.append(steps)
        return steps


class Threads:
    """Conversations by LangGraph's thread id, graph and name; the longest unused go first.

    Each is kept without the name, too: the application may name each run of a graph differently. A graph whose name was
    given by the application may have other nodes when its run is resumed.
    """

    def __init__(self, limit: int = THREADS_LIMIT) -> None:
        self._conversations: BoundedDict[str, Conversation] = BoundedDict(limit)
        self.clear = self._conversations.clear
        """Forget all conversations: for tests."""

    def __len__(self) -> int:
        return len(self._conversations)

    def remember(self, thread: str, name: str, conversation: Conversation, graph: GraphKey = UNKNOWN) -> None:
        """Keep *conversation* for the next run of *graph* in that thread."""
        for key in _keys(thread, name, graph, graph.memory):
            self._conversations.renew(key, conversation)
        _share(thread, name, conversation, graph)

    def recall(self, thread: str, name: str, graph: GraphKey = UNKNOWN) -> Conversation | None:
        """Return the conversation of a thread, from this worker or from another that went on with it later."""
        keys = _keys(thread, name, graph, graph.memory)
        own = next((self._conversations[key] for key in keys if key in self._conversations), None)
        if own is not None and graph.memory is not None:
            return own
        shared = _recall_shared(thread, name, graph)
        if shared is not None and (own is None or shared.anchor.started_ns > own.anchor.started_ns):
            return shared
        return own


threads = Threads()
on_reset(threads.clear)


def _keys(thread: str, name: str, graph: GraphKey, memory: int | None = None) -> list[str]:
    """Return the keys of a conversation, the most exact first; *memory* as in `GraphKey`, None for other workers."""
    text = graph.text if memory is None else f"{graph.text}\n{memory}"
    keys = [_key(thread, name, text), _key(thread, "", text)]
    if text and memory is None and name != private.UNNAMED_GRAPH:
        keys.append(_key(thread, name))
    return keys


def _key(thread: str, name: str, graph: str = "") -> str:
    return f"{thread}\n{name}\n{graph}" if graph else f"{thread}\n{name}"


def _share(thread: str, name: str, conversation: Conversation, graph: GraphKey) -> None:
    """Offer *conversation* to the workers that share a store with this one. Never waits."""
    from langfuse_integration.sessions.shared_state import SharedTrace, is_shared, traces

    with _SHARING:
        if is_shared():
            anchor = conversation.anchor
            agents = [steps.to_json() for steps in conversation.agents.values()]
            notes = {"agents": agents, "root": f"{conversation.root.span:016x}", "name": conversation.name}
            trace = SharedTrace(anchor.trace, anchor.started_ns, anchor.session, notes)
            for key in _keys(thread, name, graph):
                traces.remember(key, trace)


def _recall_shared(thread: str, name: str, graph: GraphKey) -> Conversation | None:
    """Return what a worker of this service shared last of a thread, or None."""
    from langfuse_integration.sessions.shared_state import is_shared, traces

    with _SHARING:
        if not is_shared():
            return None
        keys = _keys(thread, name, graph)
        trace = next((trace for trace in map(traces.recall, keys) if trace is not None), None)
        if trace is not None:
            conversation = Conversation(trace)
            conversation.root.span = int(trace.notes.get("root", "0"), 16)
            conversation.name = str(trace.notes.get("name", ""))
            conversation.steps = [AgentSteps.from_json(steps) for steps in trace.notes["agents"]]
            conversation.agents = {steps.name: steps for steps in conversation.steps}
            return conversation
    return None

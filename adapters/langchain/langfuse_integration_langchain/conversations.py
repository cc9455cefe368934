"""Conversations: the trace and the agents' steps of a root run, kept for the run that resumes it.

LangGraph ends the root run of an interrupted graph as any other; the answer comes as a new root run, with the thread's
id and a `Command(resume=...)`. In the same session both become roots of one trace; in another session the resumed run
begins a trace of its own, since Langfuse lists a trace in one session only. The steps of the agents go on in either
case, so that a tool which runs again is linked to the think that asked for it. Workers that share a store share that.

What tells that a run resumes another one is the id of the task that it takes up, or of the checkpoint from which it
goes on. LangGraph makes the ids of checkpoints unique in the world, and those of tasks of them, so they are the same in
every worker and never those of another database. A thread id is not enough: the databases of two tenants may each have
a thread "1". Neither is the checkpointer's class; and its identity does not reach beyond this process and one
connection. Both ids are known when the first node starts.

A run that stopped at a breakpoint is also resumed by its checkpointer object, graph and thread id: whoever edits the
state there more than once, or stops an async graph before its first node, makes checkpoints that nothing leads to. A
`RemoteGraph` shows neither tasks nor checkpoints; its server's address takes the checkpointer's place.
"""

from __future__ import annotations

from collections.abc import Collection

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.internals.faults import shielded
from langfuse_integration.internals.resets import on_reset
from langfuse_integration.recording import resumption
from langfuse_integration.recording.anchor import Anchor, Parent
from langfuse_integration.recording.steps import AgentSteps

from .graphs import GraphKey

THREADS_LIMIT = 2_000
"""Entries of `Threads`: one for each task that waits, two or at a breakpoint three for each run that ended without."""
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
    """Conversations by the tasks that wait and the checkpoints of breakpoints, and by thread, checkpointer and graph.

    The longest unused go first. Each of the latter is kept without the run's name, too: the application may name each
    run of a graph differently.
    """

    def __init__(self, limit: int = THREADS_LIMIT) -> None:
        self._conversations: BoundedDict[str, Conversation] = BoundedDict(limit)
        self.clear = self._conversations.clear
        """Forget all conversations: for tests."""

    def __len__(self) -> int:
        return len(self._conversations)

    def remember(self, thread: str, places: Collection[str], conversation: Conversation) -> None:
        """Keep *conversation* for the run that goes on at one of *places*: the ids of tasks, or of a checkpoint."""
        for place in places:
            self._conversations.renew(_place_key(thread, place), conversation)
            _share(_place_key(thread, place), conversation)

    def recall(self, thread: str, *places: str) -> Conversation | None:
        """Return the conversation that goes on at the first known one of *places*, of any worker, or None."""
        keys = [_place_key(thread, place) for place in places]
        own = self._own(keys)
        return own if own is not None or not keys else _recall_shared(*keys)

    def stopped(self, thread: str, name: str, graph: GraphKey, conversation: Conversation | None) -> None:
        """Keep *conversation* for the next run of *graph* in that thread; None if that run has to take up a task."""
        for key in _graph_keys(thread, name, graph):
            if conversation is None:
                self._conversations.pop(key, None)
                continue
            self._conversations.renew(key, conversation)
            if isinstance(graph.saver, str):
                _share(key, conversation)

    def last(self, thread: str, name: str, graph: GraphKey) -> Conversation | None:
        """Return the conversation of the last run of *graph* in that thread, if no task of it waits."""
        keys = _graph_keys(thread, name, graph)
        own = self._own(keys)
        shared = _recall_shared(keys[-1]) if isinstance(graph.saver, str) else None
        if shared is not None and (own is None or shared.anchor.started_ns > own.anchor.started_ns):
            return shared
        return own

    def _own(self, keys: Collection[str]) -> Conversation | None:
        """Return the conversation of the first key that this worker knows; another thread may remove any meanwhile."""
        known = map(self._conversations.get, keys)
        return next((conversation for conversation in known if conversation is not None), None)


threads = Threads()
on_reset(threads.clear)


def _place_key(thread: str, place: str) -> str:
    return f"task {thread}\n{place}"


def _graph_keys(thread: str, name: str, graph: GraphKey) -> list[str]:
    if graph.saver is None:
        return []
    start = f"graph {thread}\n{graph.saver}\n{graph.text}"
    return [f"{start}\n{name}", start]


def _share(key: str, conversation: Conversation) -> None:
    """Offer *conversation* to the workers that share a store with this one. Never waits."""
    from langfuse_integration.sessions.shared_state import SharedTrace, is_shared, traces

    with _SHARING:
        if is_shared():
            anchor = conversation.anchor
            agents = [steps.to_json() for steps in conversation.agents.values()]
            notes = {"agents": agents, "root": f"{conversation.root.span:016x}", "name": conversation.name}
            traces.remember(key, SharedTrace(anchor.trace, anchor.started_ns, anchor.session, notes))


def _recall_shared(*keys: str) -> Conversation | None:
    """Return what a worker of this service shared under the first of *keys* that it knows, or None."""
    from langfuse_integration.sessions.shared_state import is_shared, traces

    with _SHARING:
        trace = traces.recall(*keys) if is_shared() else None
        if trace is not None:
            conversation = Conversation(trace)
            conversation.root.span = int(trace.notes.get("root", "0"), 16)
            conversation.name = str(trace.notes.get("name", ""))
            conversation.steps = [AgentSteps.from_json(steps) for steps in trace.notes["agents"]]
            conversation.agents = {steps.name: steps for steps in conversation.steps}
            return conversation
    return None

"""Interrupts and handoffs: how a run ends that is no error, and how the run that resumes it finds its trace.

LangGraph ends the root run of an interrupted graph as any other; the answer comes as a new root run, with the thread's
id and a `Command(resume=...)`. Both become roots of one trace. The steps of the agents in it go on, so that a tool
which runs again is linked to the think that asked for it. Workers that share a store share that, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langfuse_integration.internals import forks
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import ambient
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.steps import AgentSteps
from langfuse_integration.sessions.session import Session

from . import private
from .states import ChainState

THREADS_LIMIT = 1_000
"""Threads of LangGraph that are remembered for their next run."""
AGENTS_LIMIT = 100
"""Agents of one root run whose steps are remembered."""
_COMMAND = "Command"
_SHARING = shielded("sharing an interrupted trace with other workers")


class Conversation:
    """What outlives a root run: where its trace is, and the steps of its agents.

    As a parent it gives its trace, and no span: what stands under it is a root of its own.
    """

    __slots__ = ("agents", "origin", "session", "started_ns", "steps", "trace")

    span = 0
    exported = False

    def __init__(self, root: Parent) -> None:
        self.move(root)
        self.agents: dict[str | None, AgentSteps] = {}
        """Agents to go on with, by name."""
        self.steps: list[AgentSteps] = []
        """Of all agents so far."""

    def move(self, root: Parent) -> None:
        """Let it be in the trace of *root*."""
        self.trace = root.trace
        self.session: Session | None = root.session
        self.origin: Session | None = root.origin
        self.started_ns = root.started_ns

    def steps_of(self, name: str | None) -> AgentSteps:
        """Return the steps of an agent: where it was interrupted, else new ones."""
        steps = self.agents.pop(name, None)
        if steps is None:
            steps = AgentSteps(name)
            if len(self.steps) < AGENTS_LIMIT:
                self.steps.append(steps)
        return steps


class Threads:
    """Conversations by LangGraph's thread id and the graph's name, at most *limit*; the longest unused go first."""

    def __init__(self, limit: int = THREADS_LIMIT) -> None:
        self._limit = limit
        self._lock = forks.Lock()
        self._held: dict[tuple[str, str], Conversation] = {}

    def __len__(self) -> int:
        return len(self._held)

    def remember(self, thread: str, name: str, conversation: Conversation) -> None:
        """Keep *conversation* for the next run of that thread."""
        with self._lock:
            self._held.pop((thread, name), None)
            self._held[thread, name] = conversation
            while len(self._held) > self._limit:
                del self._held[next(iter(self._held))]
        _tell(thread, name, conversation)

    def resumed(self, inputs: Any, metadata: Mapping[str, Any], name: str) -> Conversation | None:
        """Return the conversation that a root run goes on with, or None when it begins one."""
        if inputs is not None and (type(inputs).__name__ != _COMMAND or inputs.resume is None):
            return None
        thread = str(metadata.get("thread_id"))
        return _youngest(thread, name, self._held.get((thread, name)))

    def clear(self) -> None:
        """Forget all: for tests."""
        with self._lock:
            self._held.clear()


threads = Threads()


def _tell(thread: str, name: str, conversation: Conversation) -> None:
    """Let other workers go on with *conversation*, if they share a store with this one. Never waits."""
    from langfuse_integration.sessions.shared_state import SharedTrace, is_shared, traces

    with _SHARING:
        if is_shared():
            notes = {"agents": [steps.to_json() for steps in conversation.agents.values()]}
            trace = SharedTrace(conversation.trace, conversation.started_ns, conversation.session, notes)
            traces.remember(_key(thread, name), trace)


def _youngest(thread: str, name: str, known: Conversation | None) -> Conversation | None:
    """Return what another worker told of a thread last, if that is younger than what is *known* here."""
    from langfuse_integration.sessions.shared_state import is_shared, traces

    with _SHARING:
        told = traces.recall(_key(thread, name)) if is_shared() else None
        if told is not None and (known is None or told.started_ns > known.started_ns):
            conversation = Conversation(told)
            conversation.steps = [AgentSteps.from_json(steps) for steps in told.notes["agents"]]
            conversation.agents = {steps.name: steps for steps in conversation.steps}
            return conversation
    return known


def _key(thread: str, name: str) -> str:
    return f"{thread}\n{name}"


def place_for(conversation: Conversation | None) -> Conversation | None:
    """Return where a run that resumes stands: in the trace of before, unless a span of the application is around it."""
    if conversation is None:
        return None
    around = ambient.current()
    return conversation if around is None or not around.exported else None


def conversation_of(root: Run) -> Conversation:
    """Return what will outlive a root run, if it is one that can be resumed."""
    state = root.state
    if type(state) is not ChainState:
        return Conversation(root.observation)
    if state.conversation is None:
        state.conversation = Conversation(root.observation)
    found: Conversation = state.conversation
    return found


def flowed(run: Run, error: BaseException) -> bool:
    """Note that a run ended in control flow, with what it carries; False when *error* is an error."""
    how = private.flow_of(type(error))
    if how is None:
        return False
    observation = run.observation
    observation.level, observation.status_message = "DEFAULT", how
    carried: Any = error.args[0] if error.args else None
    if how == "interrupted":
        observation.output = {"interrupts": list(carried) if isinstance(carried, (list, tuple)) else [carried]}
        for above in run.lineage():
            if isinstance(above.state, ChainState):
                above.state.interrupted = True
    else:
        observation.output = carried
    return True


def ended(root: Run) -> None:
    """Remember a root run of a graph for the run that may go on with it."""
    state: ChainState = root.state
    thread = state.metadata.get("thread_id")
    if thread is not None and state.graph:
        threads.remember(str(thread), state.name, conversation_of(root))
    if state.interrupted and root.observation.status_message is None:
        root.observation.level, root.observation.status_message = "DEFAULT", "interrupted"

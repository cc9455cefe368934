"""The state of an open run: LangChain's announcement of it, and values that its end needs."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple
from uuid import UUID

from typing_extensions import override

from langfuse_integration.recording import tracing
from langfuse_integration.recording.anchor import Anchor
from langfuse_integration.recording.observation import Observation, ObservationType
from langfuse_integration.recording.registry import Run, RunStart
from langfuse_integration.recording.steps import AgentSteps

from . import private
from .binding import Binding
from .conversations import Conversation
from .graphs import UNKNOWN, GraphKey
from .lost_runs import RunReference, forgotten
from .models import ModelCall
from .notes import NOBODY, NOTHING, notes_of
from .prompts import GivenPrompt


class LangChainStart(RunStart):
    """The start of a run of LangChain.

    Attributes:
        plumbing: of an agent whose first node has started: names of its nodes that make no row.
        thinker: of a later one of these nodes: the agent; of a model call, see `ModelState`.
    """

    plumbing: frozenset[str] = frozenset()
    thinker: Run | None = None

    @override
    def called_by(self, parent_key: Hashable) -> bool:
        """Return whether LangChain's variable names that run as the one whose code runs here."""
        return private.current_run_key() == parent_key


class Failure(NamedTuple):
    """A failed double, kept until it is clear whether the run above fails with the same error."""

    run: Run
    error: BaseException
    ended_ns: int


class ChainState(LangChainStart):
    """State of a chain, graph, node or agent.

    Attributes:
        name: of the run.
        bound: a handler with a session of its own has announced the run.
        inputs: the run's input as LangChain passed it.
        metadata, tags: as LangChain passed them.
        binding: of the handler that has announced a folded run, for its row.
        position: as in `private.position`.
        node: the run is a node of a graph, or a task of LangGraph's functional API.
        graph: a node has started below the run, so the run is a graph.
        unnamed: the application has given the graph no name.
        first_node: of an unnamed graph: the name of the node that started first.
        double: the run is the same thing as the run above, whose row stands for both.
        steps: steps of an agent, or of a graph that turned out to be one.
        thinks_in: the node in which the agent decides, None for any node.
        interrupted: something below waits for an answer.
        used: a row stands below this one.
        step: a folded step of a node, which has a row if it turns out to be a graph or a named sequence.
        stands_in: the run may turn out to be all that the node above does.
        row: the row of such a run.
        stand_in: of a node: the state of the run below that may be all that the node does.
        held: of a node: the row of that run once it has ended, as (row, end in ns).
        doubled: a double of the run has ended without an error.
        hands_back: of a supervisor's node: it only adds to an agent's output that the agent hands back.
        vanishes: the run leaves no row if it changes nothing and no row stands below it.
        latest: output of the run below that ended last.
        leaving: the run has ended as an abandoned stream, and its last children are about to end.
        prompts: of a root: the Langfuse prompts of its templates.
        given: of a template: its Langfuse prompt.
        shown: errors that have rows below.
        failures: of doubles.
        actions: tool calls that an AgentExecutor has announced, as (tool, input, call id).
        pending: tool calls that the agent's models asked for, as (tool, arguments, call id).
        placed: rows below have LangGraph's node and step in their metadata; see notes.py.
        checkpoints: of a root with a thread id: the graph that it runs.
        conversation: what outlives the root run, for the run that resumes it.
        unproven: the root may resume a run; its first node tells which one.
        asks_node: of a root: its first node is still to be asked what runs it.
        loop: of a root with breakpoints: what runs its nodes.
        task: of a node directly below a root with a thread id: names the task that it runs.
        unfinished: of such a root: the tasks that its nodes have not finished.
        resumes: the root of another session's trace that the run resumes.
        watch, run_id: of a root: the first tells when its event loop is gone, the second whether its id is.
    """

    # No slots: most of these keep their defaults, which then cost nothing to set.
    type: ObservationType = "chain"
    node = graph = unnamed = double = interrupted = used = vanishes = leaving = bound = step = stands_in = False
    unproven = asks_node = False
    doubled = hands_back = False
    position: str | None = None
    first_node: str | None = None
    row: Observation | None = None
    stand_in: ChainState | None = None
    held: list[tuple[Observation, int]] | None = None
    steps: AgentSteps | None = None
    thinks_in: str | None = None
    latest: Any = None
    prompts: list[GivenPrompt] | None = None
    given: GivenPrompt | None = None
    actions: list[tuple[str, Any, str | None]] | None = None
    placed = True
    pending: list[tuple[Any, Any, Any]] | None = None
    checkpoints: GraphKey = UNKNOWN
    conversation: Conversation | None = None
    loop: weakref.ref[Any] | None = None
    unfinished: set[str] | None = None
    resumes: Anchor | None = None
    watch: RunReference | None = None
    run_id: weakref.ref[UUID] | None = None
    shown: tuple[BaseException, ...] = ()
    failures: list[Failure] | None = None
    binding: Binding | None = None
    task: str | None = None

    def __init__(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        name: str,
        inputs: Any,
        metadata: dict[str, Any] | None,
        tags: list[str] | None,
    ) -> None:
        self.key = run_id.int
        if parent_run_id is not None:
            self.parent_key = parent_run_id.int
        else:
            self.run_id = weakref.ref(run_id)
        self.name = name
        self.inputs = inputs
        self.metadata = metadata or NOTHING
        self.tags = tags

    @override
    def observe(self, run: Run) -> Observation:
        """Make the observation of folded plumbing that turns out to be more."""
        session, origin = run.anchor.session, run.anchor.origin
        if self.binding is not None:
            session = self.binding.over(session)
        observation = Observation(self.name, "chain", tracing.recorder, run.anchor, (session, origin))
        observation.late = notes_of(self.metadata, self.tags, NOBODY if run.parent is None else run.parent.state)
        return observation


class LeafState(LangChainStart):
    """State of a model call, tool call or retrieval.

    Attributes:
        name: of the run.
        bound, placed: as in `ChainState`.
        metadata, tags: as LangChain passed them.
        watch: tells when nobody can end the run any more.
        task, done: the task whose end ends the run, and its callback.
        parts: the parts of a model's answer that were streamed so far.
        prompts: as in `ChainState`.
    """

    bound = False
    placed = True
    prompts: list[GivenPrompt] | None = None
    task: asyncio.Task[Any] | None = None
    done: Callable[[asyncio.Task[Any]], None] | None = None
    parts: list[Any] | None = None

    def __init__(
        self,
        run_id: UUID,
        parent_run_id: UUID | None,
        name: str,
        metadata: dict[str, Any] | None,
        tags: list[str] | None,
    ) -> None:
        self.key = run_id.int
        if parent_run_id is not None:
            self.parent_key = parent_run_id.int
        self.name = name
        self.metadata = metadata or NOTHING
        self.tags = tags
        self.watch: RunReference | None = RunReference(run_id, forgotten)  # as `watched` makes it, without the call
        self.watch.key = self.key


class ModelState(LeafState):
    """State of a model call.

    Attributes:
        structured: the call is made for structured output.
        thinker: the agent or graph that may be deciding here.
        steps: steps of the agent, if the call is one of its thinks.
        call: parameters and answer, for the row.
    """

    type: ObservationType = "generation"
    structured = False
    steps: AgentSteps | None = None
    call: ModelCall


class ToolState(LeafState):
    """State of a tool call: agents above it do not decide below it.

    Attributes:
        call_id: the id that the model gave the call, or None where it is not known.
    """

    type: ObservationType = "tool"
    call_id: str | None = None


class RetrieverState(LeafState):
    """State of a retrieval."""

    type: ObservationType = "retriever"

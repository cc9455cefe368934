"""What is kept for each open run, besides what is recorded of it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from langfuse_integration.recording.registry import Run, RunStart
from langfuse_integration.recording.steps import AgentSteps

NOTHING: dict[str, Any] = {}


class Failure(NamedTuple):
    """A double of a run that failed, before it is known whether the run above fails with it."""

    run: Run
    error: BaseException
    ended_ns: int


class ChainState(RunStart):
    """Of a chain, graph, node or agent.

    Attributes:
        name: of the run.
        bound: a bound handler has said whose it is.
        inputs: as they were given, to recognise a run that is a double of the one above.
        metadata, tags: as LangChain gave them.
        node: it is a node of a graph.
        graph: nodes of it were seen.
        double: it is the same thing as the run above, which stands for it.
        steps: of an agent, or of a graph that turned out to be one.
        thinks_in: the node in which it decides, None for any.
        interrupted: something in it waits for an answer.
        used: something stands below it.
        vanishes: it leaves no row if it changes nothing and nothing stands below it.
        latest: what the last one to end below gave.
        leaving: it has ended as an abandoned stream, and its last children are about to end.
        prompt: the Langfuse prompt that its model calls are made from.
        shown: errors that have rows below.
        failures: of doubles.
        actions: tool calls that an AgentExecutor has announced, as (tool, input, call id).
        conversation: what outlives the root run, for the run that resumes it.
    """

    # No slots: most of these keep their defaults, which then cost nothing to set.
    node = graph = double = interrupted = used = vanishes = leaving = bound = False
    steps: AgentSteps | None = None
    thinks_in: str | None = None
    latest: Any = None
    prompt: Any = None
    actions: list[tuple[str, Any, str | None]] | None = None
    conversation: Any = None
    shown: tuple[BaseException, ...] = ()
    failures: list[Failure] | None = None

    def __init__(self, name: str, inputs: Any, metadata: dict[str, Any] | None, tags: list[str] | None) -> None:
        self.name = name
        self.inputs = inputs
        self.metadata = metadata or NOTHING
        self.tags = tags


class LeafState(RunStart):
    """Of a model call, tool call or retrieval.

    Attributes:
        metadata, tags: as LangChain gave them.
        watch: notes when nobody can end it any more.
        task, done: the task whose end ends it, and how.
        thinker: of a model call: the agent or graph that may be deciding here.
        steps: of a model call that is a think: the steps of its agent.
        parts: of a model call: what was streamed so far.
        call: of a model call: what is noted of it for its row.
    """

    def __init__(self, metadata: dict[str, Any] | None, tags: list[str] | None) -> None:
        self.metadata = metadata or NOTHING
        self.tags = tags
        self.bound = False
        self.watch: weakref.ref[UUID] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.done: Callable[[asyncio.Task[Any]], None] | None = None
        self.thinker: Run | None = None
        self.steps: AgentSteps | None = None
        self.parts: list[Any] | None = None
        self.call: Any = None


class ToolState(LeafState):
    """Of a tool call: agents above it do not decide below it."""

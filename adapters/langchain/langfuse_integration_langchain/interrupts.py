"""Interrupts, handoffs and resumed runs: which ends are no errors, and which root run continues another."""

from __future__ import annotations

from typing import Any

from langfuse_integration.internals import forks
from langfuse_integration.recording import ambient, resumption, tracing
from langfuse_integration.recording.anchor import Anchor
from langfuse_integration.recording.registry import Run

from . import private
from .conversations import Conversation, threads
from .graphs import UNKNOWN, graph_of_caller, left_at, loop_of_node, reference_to, taken_up_at
from .states import ChainState

TASKS_LIMIT = 1_000
"""Tasks of one root run that are remembered as unfinished."""
_first = forks.Lock()


def resumed(state: ChainState) -> Conversation | None:
    """Return the conversation that a root run resumes; None when it begins one, or its first node will tell."""
    inputs = state.inputs
    if state.checkpoints is UNKNOWN:
        state.checkpoints = graph_of_caller(state.metadata)
    state.asks_node = state.checkpoints.stops
    kind = type(inputs)
    if inputs is not None and ((kind.__module__, kind.__name__) != private.COMMAND or inputs.resume is None):
        return None
    conversation = threads.last(_thread(state), state.name, state.checkpoints)
    if conversation is None:
        state.unproven = state.asks_node = True
    return conversation


def first_node(root: Run, node: ChainState) -> None:
    """Learn from the first node of *root* what runs it, and which run it resumes; nodes that start meanwhile wait."""
    state: ChainState = root.state
    with _first:
        try:
            if state.asks_node:
                loop = loop_of_node()
                state.loop = reference_to(loop) if state.checkpoints.stops else None
                conversation = _proven(state, node, loop) if state.unproven else None
                if conversation is not None:
                    _join(root, conversation)
        finally:
            state.asks_node = False


def _proven(state: ChainState, node: ChainState, loop: Any) -> Conversation | None:
    """Return the conversation whose task *node* takes up, or that stopped at the checkpoint from which *loop* goes on.

    Args:
        state: of the root run.
        node: of its first node.
        loop: which runs that node; None if it is not known.
    """
    task = node.metadata.get(private.TASK_KEY)
    places = ([str(task)] if task else []) + ([] if loop is None else taken_up_at(loop))
    return threads.recall(_thread(state), *places)


def _join(root: Run, conversation: Conversation) -> None:
    """Make *root*, below which nothing has started, a part of *conversation*."""
    state: ChainState = root.state
    row = root.observation
    if row.app_root:  # otherwise a span of the application keeps it
        if resumption.continues(state, conversation.anchor.session, row.session):
            resumption.join(row, conversation.anchor)
        else:
            state.resumes = conversation.root
    state.conversation = conversation
    if state.steps is not None:
        state.steps = conversation.steps_of(state.steps.name)
    go_on(root, state, conversation)
    if row.app_root:
        tracing.recorder.opened(row)


def go_on(root: Run, state: ChainState, conversation: Conversation) -> None:
    """Let a root run go on where another one was interrupted."""
    if state.resumes is not None:
        resumption.link(root, state.resumes)
    conversation.move(root.observation)
    if state.unnamed and conversation.name:
        root.observation.name = state.first_node = conversation.name


def _thread(state: ChainState) -> str:
    return str(state.metadata.get("thread_id"))


def anchor_of(state: ChainState, conversation: Conversation) -> Anchor | None:
    """Return the anchor of a resumed run; None inside a span of the application, and in another session."""
    around = ambient.current()
    if around is not None and around.exported:
        return None
    session, _ = tracing.store.resolve(None)
    if resumption.continues(state, conversation.anchor.session, session):
        return conversation.anchor
    state.resumes = conversation.root
    return None


def conversation_of(root: Run) -> Conversation:
    """Return the conversation of a root run; a new one if the run has none yet."""
    state = root.state
    if type(state) is not ChainState:
        return Conversation(root.observation)
    if state.conversation is None:
        state.conversation = Conversation(root.observation)
    return state.conversation


def flowed(run: Run, error: BaseException) -> bool:
    """Record how a run ended in control flow, with the value that it carries; False when *error* is an error."""
    status = private.flow_of(type(error))
    if status is None:
        return False
    observation = run.observation
    observation.level, observation.status_message = "DEFAULT", status
    carried: Any = error.args[0] if error.args else None
    if status == "interrupted":
        observation.output = {"interrupts": list(carried) if isinstance(carried, (list, tuple)) else [carried]}
        for above in run.lineage():
            if isinstance(above.state, ChainState):
                above.state.interrupted = True
    else:
        observation.output = carried
    return True


def task_ended(root: Run, task: str, *, finished: bool) -> None:
    """Note whether the task of a node directly below a root is left to a later run."""
    state: ChainState = root.state
    if finished:
        if state.unfinished is not None:
            state.unfinished.discard(task)
    else:
        state.unfinished = state.unfinished or set()
        if len(state.unfinished) < TASKS_LIMIT:
            state.unfinished.add(task)


def ended(root: Run) -> None:
    """Remember the root run of a graph for the run that may resume it."""
    state: ChainState = root.state
    if "thread_id" in state.metadata and state.graph:
        conversation = conversation_of(root)
        conversation.name = root.observation.name
        tasks = state.unfinished
        checkpoint = None if tasks else left_at(state.loop() if state.loop is not None else None)
        threads.remember(_thread(state), tasks or ([] if checkpoint is None else [checkpoint]), conversation)
        threads.stopped(_thread(state), state.name, state.checkpoints, None if tasks else conversation)
    if state.interrupted and root.observation.status_message is None:
        root.observation.level, root.observation.status_message = "DEFAULT", "interrupted"

"""Interrupts, handoffs and resumed runs: which ends are no errors, and which root run continues another."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording import ambient, resumption, tracing
from langfuse_integration.recording.anchor import Anchor
from langfuse_integration.recording.registry import Run

from . import private
from .conversations import Conversation, threads
from .graphs import graph_of_caller
from .states import ChainState


def resumed(state: ChainState) -> Conversation | None:
    """Return the conversation that a root run resumes, or None when it begins one."""
    inputs = state.inputs
    state.checkpoints = graph_of_caller(state.metadata)
    if inputs is not None and (type(inputs).__name__ != private.COMMAND or inputs.resume is None):
        return None
    return threads.recall(str(state.metadata.get("thread_id")), state.name, state.checkpoints)


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


def ended(root: Run) -> None:
    """Remember the root run of a graph for the run that may resume it."""
    state: ChainState = root.state
    thread = state.metadata.get("thread_id")
    if thread is not None and state.graph:
        conversation = conversation_of(root)
        conversation.name = root.observation.name
        threads.remember(str(thread), state.name, conversation, state.checkpoints)
    if state.interrupted and root.observation.status_message is None:
        root.observation.level, root.observation.status_message = "DEFAULT", "interrupted"

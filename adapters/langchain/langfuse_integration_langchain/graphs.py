"""The graph that a root run executes, its checkpointer, and its tasks that wait when it ends.

LangGraph tells handlers none of that; it is read off the frame that announces the run's start or end (langgraph 1.0 to
1.2).
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Mapping
from types import FrameType
from typing import Any, NamedTuple

from langfuse_integration.internals.faults import shielded

PREGEL = "langgraph.pregel.main"
"""The module whose frames run a graph."""
FRAMES = 16
"""How far above such a frame may be; it is the ninth today when a run ends."""
STOPPED = ("interrupt_before", "draining")
"""The states of a graph that has tasks and does not run them."""
_READING = shielded("reading which graph a run executes")


class GraphKey(NamedTuple):
    """A graph as far as its checkpoints go.

    Attributes:
        text: its checkpoints' namespace and its nodes.
        saver: the number of its checkpointer in this process, or the address of the server that has it; None where
            neither is known.
    """

    text: str
    saver: int | str | None = None


CHECKPOINTS = "langfuse_integration_checkpoints"
"""The argument of a handler's `on_chain_start` with which a remote graph gives its key."""
UNKNOWN = GraphKey("")
"""In place of a graph that is remote, or that a release of LangGraph runs in another way."""


def graph_of_caller(metadata: Mapping[str, Any]) -> GraphKey:
    """Return the graph that announces a run with *metadata* further up on this stack, or `UNKNOWN`."""
    with _READING:
        graph = running_graph()
        nodes = getattr(graph, "nodes", None)
        if nodes is not None:
            saver = getattr(graph, "checkpointer", None)
            number = _number(saver) if saver is not None and not isinstance(saver, bool) else None
            return GraphKey("\n".join((str(metadata.get("checkpoint_ns") or ""), *nodes)), number)
    return UNKNOWN


def remote_graph(graph: Any) -> GraphKey:
    """Return the key of a `RemoteGraph`: its server's address tells it from one of another server, in every worker."""
    with _READING:
        client = getattr(graph, "sync_client", None) or getattr(graph, "client", None)
        address = getattr(getattr(getattr(client, "http", None), "client", None), "base_url", None)
        if address is not None:
            return GraphKey(str(getattr(graph, "assistant_id", "")), str(address))
    return GraphKey("", _number(graph))


def waiting_tasks() -> list[str]:
    """Return the names under which the nodes will run before which a graph stops that announces its end on this stack.

    Such a name is that of `private.TASK_KEY`: the node's, and the task's id.
    """
    with _READING:
        frame = _pregel_frame()
        loop = frame.f_locals.get("loop") if frame is not None else None
        if getattr(loop, "status", None) in STOPPED:
            tasks = getattr(loop, "tasks", None) or {}
            return [f"{task.name}:{task.id}" for task in tasks.values() if not task.writes]
    return []


def running_graph() -> Any:
    """Return the graph whose method announces a run further up on this stack, or None."""
    frame = _pregel_frame()
    return frame.f_locals.get("self") if frame is not None else None


def _pregel_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    for _ in range(FRAMES):
        if frame is None or frame.f_globals.get("__name__") == PREGEL:
            return frame
        frame = frame.f_back
    return None


_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next = itertools.count(1)


def _number(saver: Any) -> int:
    """Return a number that no other checkpointer of this process has or had."""
    number = _numbers.get(saver)
    return number if number is not None else _numbers.setdefault(saver, next(_next))

"""The graph that a root run executes: whose checkpoints it reads, so that runs of other graphs are never resumed by it.

A thread id alone names no conversation: two graphs with a checkpointer each may use the same one. LangGraph tells
handlers neither the graph nor its checkpointer; both are read off the frame that announces the run (langgraph 1.0 to
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
FRAMES = 10
"""How far above a handler such a frame may be; it is the fourth today."""
IN_MEMORY = ("langgraph.checkpoint.memory", "InMemorySaver")
"""Module and name of the checkpointer that keeps checkpoints in its own attributes."""
_READING = shielded("reading which graph a run executes")


class GraphKey(NamedTuple):
    """A graph as far as its checkpoints go.

    Attributes:
        text: the kind of its checkpointer, its namespace and its nodes; empty where nothing is known.
        memory: the number of a checkpointer that keeps checkpoints in its own attributes: only an application that
            copies them has them in another one. None for databases.
    """

    text: str
    memory: int | None = None


UNKNOWN = GraphKey("")
"""In place of a graph that is remote, or that a release of LangGraph runs in another way."""


def graph_of_caller(metadata: Mapping[str, Any]) -> GraphKey:
    """Return the graph that announces a run with *metadata* further up on this stack, or `UNKNOWN`."""
    with _READING:
        graph = running_graph()
        nodes = getattr(graph, "nodes", None)
        if nodes is not None:
            saver = getattr(graph, "checkpointer", None)
            kind = type(saver)
            memory = _number(saver) if (kind.__module__, kind.__name__) == IN_MEMORY else None
            space = str(metadata.get("checkpoint_ns") or "")
            return GraphKey("\n".join((kind.__qualname__, space, *nodes)), memory)
    return UNKNOWN


def running_graph() -> Any:
    """Return the graph whose method announces a run further up on this stack, or None."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(FRAMES):
        if frame is None:
            return None
        if frame.f_globals.get("__name__") == PREGEL:
            return frame.f_locals.get("self")
        frame = frame.f_back
    return None


_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_next = itertools.count(1)


def _number(saver: Any) -> int:
    """Return a number that no other checkpointer of this process has or had."""
    number = _numbers.get(saver)
    return number if number is not None else _numbers.setdefault(saver, next(_next))

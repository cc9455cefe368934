"""The graph that a root run executes, its checkpointer, and the checkpoint at which it stops and goes on.

LangGraph tells handlers none of that; it is read off the frames that announce the start of a run and of its first node,
and the run's end (langgraph 1.0 to 1.2). Async code announces the end in a task of its own, whose stack does not show
the run: there the first node leads to LangGraph's loop, which is referred to weakly.
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
STOPPED = frozenset({"interrupt_before", "interrupt_after", "draining", "out_of_steps"})
"""The states of a loop that stopped at a checkpoint, and may be continued from there."""
EDITED = frozenset({"update", "fork"})
"""Where a checkpoint comes from that `update_state` made of the one at which a run stopped."""
BREAKPOINTS = ("interrupt_before", "interrupt_after")
"""Arguments of a graph's methods; the graph's attributes that hold their defaults have `_nodes` added."""
CALL_KEY = "__pregel_call"
"""Where the configuration of a node leads to the loop that runs it."""
_READING = shielded("reading which graph a run executes")


class GraphKey(NamedTuple):
    """A graph as far as its checkpoints go.

    Attributes:
        text: its checkpoints' namespace and its nodes.
        saver: the number of its checkpointer in this process, or the address of the server that has it; None where
            neither is known.
        stops: whether the run has breakpoints.
    """

    text: str
    saver: int | str | None = None
    stops: bool = False


CHECKPOINTS = "langfuse_integration_checkpoints"
"""The argument of a handler's `on_chain_start` with which a remote graph gives its key."""
UNKNOWN = GraphKey("")
"""In place of a graph that is remote, or that a release of LangGraph runs in another way."""


def graph_of_caller(metadata: Mapping[str, Any]) -> GraphKey:
    """Return the graph that announces a run with *metadata* further up on this stack, or `UNKNOWN`."""
    with _READING:
        frame = _pregel_frame()
        variables = frame.f_locals if frame is not None else {}
        graph = variables.get("self")
        nodes = getattr(graph, "nodes", None)
        if nodes is not None:
            saver = getattr(graph, "checkpointer", None)
            number = _number(saver) if saver is not None and not isinstance(saver, bool) else None
            stops = any(variables.get(name) or getattr(graph, f"{name}_nodes", None) for name in BREAKPOINTS)
            return GraphKey("\n".join((str(metadata.get("checkpoint_ns") or ""), *nodes)), number, stops)
    return UNKNOWN


def remote_graph(graph: Any) -> GraphKey:
    """Return the key of a `RemoteGraph`: its server's address tells it from one of another server, in every worker."""
    with _READING:
        client = getattr(graph, "sync_client", None) or getattr(graph, "client", None)
        address = getattr(getattr(getattr(client, "http", None), "client", None), "base_url", None)
        if address is not None:
            return GraphKey(str(getattr(graph, "assistant_id", "")), str(address))
    return GraphKey("", _number(graph))


def loop_of_node() -> Any:
    """Return LangGraph's loop that runs the node whose start is announced further up on this stack, or None."""
    with _READING:
        frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        for _ in range(FRAMES):
            if frame is None:
                break
            if str(frame.f_globals.get("__name__")).startswith("langgraph."):
                call = _configurable(frame.f_locals.get("config")).get(CALL_KEY)
                schedule = getattr(call, "keywords", {}).get("schedule_task")
                if schedule is not None:
                    return getattr(schedule, "__self__", None)
            frame = frame.f_back
    return None


def reference_to(loop: Any) -> weakref.ref[Any] | None:
    """Return a weak reference to *loop*; None without a loop, or for one that cannot be referred to weakly."""
    try:
        return weakref.ref(loop)
    except TypeError:
        return None


def left_at(loop: Any) -> str | None:
    """Return the id of the checkpoint at which *loop* stopped; None if it did not stop.

    Args:
        loop: None is the one that announces its end further up on this stack.
    """
    with _READING:
        if loop is None:
            frame = _pregel_frame()
            loop = frame.f_locals.get("loop") if frame is not None else None
        if getattr(loop, "status", None) in STOPPED:
            return str(loop.checkpoint["id"])
    return None


def taken_up_at(loop: Any) -> list[str]:
    """Return the checkpoint from which *loop* goes on, and the one before it if somebody has edited the state there."""
    with _READING:
        checkpoints = [str(loop.checkpoint["id"])]
        if loop.checkpoint_metadata.get("source") in EDITED:
            before = _configurable(loop.prev_checkpoint_config).get("checkpoint_id")
            checkpoints += [before] if isinstance(before, str) else []
        return checkpoints
    return []


def _configurable(config: Any) -> Mapping[str, Any]:
    configurable = config.get("configurable") if isinstance(config, dict) else None
    return configurable if isinstance(configurable, dict) else {}


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

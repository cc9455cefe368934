"""Where a running call is: the agent above it, from the runs that are open in this process, and its task or thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Hashable, Iterator

from ...recording import ambient, tracing
from ...recording.observation import Observation


def agent_above(observation: Observation | None, recorded_agents: Collection[str | None]) -> str | None:
    """Return the name of the nearest agent above *observation*, or None.

    Args:
        recorded_agents: names of agents in the recording: a run of that name may turn out to be one later.
    """
    for above in _above(observation):
        if above.type == "agent" or above.name in recorded_agents:
            return str(above.name)
    return None


def _above(observation: Observation | None) -> Iterator[Observation]:
    """Yield the open observations above *observation*, the nearest first; None is what is current here."""
    current = ambient.current()
    around = current if isinstance(current, Observation) else None
    if observation is None:
        if around is None:
            return
        yield around
        observation = around
    rows = {run.observation.span: run.observation for run in tracing.registry.open_runs() if not run.folded}
    if around is not None:
        rows.setdefault(around.span, around)
    while (above := rows.pop(observation.parent, None)) is not None:
        yield above
        observation = above


def flow_here() -> Hashable:
    """Return the task or thread in which the application asks; each call of a pool's thread is a flow of its own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is not None:
        return task
    thread = threading.current_thread()
    return object() if "ThreadPoolExecutor" in thread.name else thread

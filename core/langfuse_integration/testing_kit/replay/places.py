"""Where a running call is: the agent above it, from the runs that are open in this process, and its flow."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Collection, Generator, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from ...recording import ambient, tracing
from ...recording.observation import Observation
from .flows import flow_here
from .patches import Patches


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
    while (above := rows.pop(observation.parent, None) or _made.get(observation.parent)) is not None:
        yield above
        observation = above


_made: weakref.WeakValueDictionary[int, Observation] = weakref.WeakValueDictionary()
"""Observations by their ids, those of the application's own blocks and of servers' questions among them."""
_flows: weakref.WeakKeyDictionary[Observation, Hashable] = weakref.WeakKeyDictionary()
"""Where they were made."""


@contextmanager
def observations_noted() -> Generator[None]:
    """Note each observation that is made within the block, so that what is below it finds the agent above."""
    patches = Patches()

    def noting(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(self: Observation, *positional: Any, **named: Any) -> None:
            original(self, *positional, **named)
            _made[self.span] = self
            _flows[self] = flow_here()

        return __init__

    patches.wrap(Observation, "__init__", noting)
    try:
        yield
    finally:
        patches.undo()


def flow_of(observation: Observation | None) -> Hashable:
    """Return the flow in which the row of a call was made; without a row, the one in which this runs."""
    flow = _flows.get(observation) if observation is not None else None
    return flow_here() if flow is None else flow

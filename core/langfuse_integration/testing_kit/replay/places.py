"""The agent above a running call, from the runs that are open in this process."""

from __future__ import annotations

from collections.abc import Collection, Iterator

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

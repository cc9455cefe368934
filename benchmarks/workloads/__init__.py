"""The applications that are traced, by their short names."""

from __future__ import annotations

from importlib import import_module

from ..contender import Framework
from .workload import Workload

# Names only, imported on use: each needs its framework.
PLACES: dict[str, tuple[Framework, str, str]] = {
    "C1": ("blocks", "blocks", "Nested"),
    "C1t": ("blocks", "blocks", "NestedInThreads"),
    "C1a": ("blocks", "blocks", "NestedInTasks"),
    "L1": ("langchain", "chains", "Chain"),
    "L2": ("langchain", "chains", "Agent"),
    "L2a": ("langchain", "chains", "AgentAwaited"),
    "L3": ("langchain", "chains", "ChainStreamed"),
    "L4": ("langchain", "chains", "ChainBatched"),
    "L5": ("langchain", "chains", "LongHistory"),
    "I1": ("llamaindex", "indexes", "FunctionAgent"),
    "I2": ("llamaindex", "indexes", "QueryEngine"),
    "M2": ("mcp", "servers", "CallsInFlight"),
}


def framework_of(name: str) -> Framework:
    """Return the framework of the workload *name*."""
    return PLACES[name][0]


def workload(name: str) -> type[Workload]:
    """Return the workload *name*; this imports its framework."""
    _, module, kind = PLACES[name]
    loaded: type[Workload] = getattr(import_module(f"{__name__}.{module}"), kind)
    return loaded

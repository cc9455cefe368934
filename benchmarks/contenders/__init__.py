"""The ways of tracing that are compared, by name; each is imported only in the process that it takes part in."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from ..contender import FRAMEWORKS, Contender, Framework

NONE, FLOOR, OURS = "none", "floor", "ours"


class Place(NamedTuple):
    """The module and class of a contender.

    Attributes:
        module, kind: the names of its module and class.
        frameworks: the frameworks it can trace.
        environment: the virtual environment that it needs for itself, or None.
    """

    module: str
    kind: str
    frameworks: tuple[Framework, ...] = FRAMEWORKS
    environment: str | None = None


PLACES: dict[str, Place] = {
    NONE: Place("..contender", "Contender"),
    FLOOR: Place(".floor", "Floor"),
    "deferred": Place(".deferred", "Deferred"),
    OURS: Place(".ours", "Ours"),
    "langfuse": Place(".peers", "Langfuse"),
    "openinference": Place(".peers", "OpenInference", ("langchain", "llamaindex")),
    "traceloop": Place(".peers", "Traceloop", ("langchain", "llamaindex"), "traceloop"),
    "mcp": Place(".peers", "McpItself", ("mcp",)),
}


def contender(name: str) -> Contender:
    """Return the contender *name*; this imports what it needs."""
    place = PLACES[name]
    made: Contender = getattr(import_module(place.module, __name__), place.kind)()
    return made

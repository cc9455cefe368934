"""Rows: what is kept of an open one, and how it ends."""

from __future__ import annotations

from collections.abc import Hashable
from inspect import BoundArguments
from typing import Any

from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.registry import Run, RunStart
from langfuse_integration.recording.tracing import open_run, registry

from . import bindings, foreign
from .folding import Role
from .places import Place


class Row(RunStart):
    """The state of an open row; subclasses know what is special about theirs.

    Attributes:
        role: how it is recorded.
        instance: the object whose method it is, or None.
    """

    def __init__(self, role: Role, instance: Any) -> None:
        self.role = role
        self.instance = instance

    def exit(self, run: Run, result: Any) -> None:
        """End the row with what the call returned."""
        finish(run.key, self.role.write(result) if result is not None else None)

    def drop(self, run: Run, error: BaseException) -> None:
        """End the row with what the call raised."""
        fail(run.key, error)

    def cancel(self, run: Run) -> None:
        """Note that the runtime cancelled the call, which then ends cleanly."""
        run.observation.cancel()

    def abandon(self, run: Run) -> None:
        """End the row when what it is a part of has ended before its time."""
        cancel(run.key)


def open_row(
    id_: Hashable,
    place: Place,
    name: str,
    state: Row,
    bound: BoundArguments,
    *,
    above: Parent | None = None,
) -> Run | None:
    """Open the row of a span; None when it is open already.

    Args:
        above: what a root stands under whatever the context says.
    """
    role = state.role
    carried: bindings.Carried | None = None
    if place.run is None:
        carried = bindings.carried()
        foreign.look()
    state.key, state.parent_key = id_, place.key
    state.name, state.type = name, role.type
    state.session = bindings.bound(state.instance) if place.run is None else None
    state.suggested = carried.session if carried is not None else None
    state.above = above or (carried.above() if carried is not None else None)
    parent = registry.get(place.key) if place.key is not None else None
    return open_run(state, role.read(bound), parent)


def finish(key: Hashable, output: Any = None) -> Run | None:
    """End a row with its output, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.finish(output)
    return run


def fail(key: Hashable, error: BaseException, output: Any = None) -> Run | None:
    """End a row with its error, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.fail(error)
        run.observation.finish(output)
    return run


def cancel(key: Hashable, output: Any = None) -> Run | None:
    """End a row as cancelled, unless it has ended."""
    run = registry.close(key)
    if run is not None:
        run.observation.cancel()
        run.observation.finish(output)
    return run


def cancel_below(run: Run) -> None:
    """End what is open below *run*, which ends before its time: nobody may ever tell of it again."""
    for below in list(run.open_below()):
        if isinstance(below.state, Row):
            below.state.abandon(below)


def name_of(instance: Any, id_name: str) -> str:
    """Return a row's name: the class of the object, or a function's own name."""
    return type(instance).__name__ if instance is not None else id_name.rpartition("<locals>.")[2]

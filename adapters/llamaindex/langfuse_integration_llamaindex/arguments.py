"""The arguments of a call as a person passed them, by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import BoundArguments, Parameter
from typing import Any

NOT_GIVEN = frozenset(("self", "ctx"))


def is_context(value: Any) -> bool:
    """Return whether a value is the workflow's context, which LlamaIndex passes to what wants it."""
    kind = type(value)
    return kind.__name__ == "Context" and kind.__module__.startswith(("workflows.", "llama_index."))


def given(bound: BoundArguments) -> dict[str, Any]:
    """Return the arguments by name, those of `**options` among them: without `self`, contexts and what is None."""
    found: dict[str, Any] = {}
    parameters = bound.signature.parameters
    for name, value in bound.arguments.items():
        if parameters[name].kind is Parameter.VAR_KEYWORD:
            found.update(value)
        elif value is not None and name not in NOT_GIVEN:
            found[name] = list(value) if parameters[name].kind is Parameter.VAR_POSITIONAL else value
    return {name: value for name, value in found.items() if not is_context(value)}


def options(bound: BoundArguments) -> Mapping[str, Any]:
    """Return what was passed as `**options`."""
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is Parameter.VAR_KEYWORD and isinstance(value, Mapping):
            return value
    return {}


def first(*names: str) -> Callable[[BoundArguments], Any]:
    """Return a reader of the first argument that is there."""

    def read(bound: BoundArguments) -> Any:
        arguments = bound.arguments
        for name in names:
            if arguments.get(name) is not None:
                return arguments[name]
        return None

    return read

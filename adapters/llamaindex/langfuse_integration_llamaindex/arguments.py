"""The arguments of a call, as the caller passed them, by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import BoundArguments, Parameter
from typing import Any

NOT_GIVEN = frozenset(("self", "ctx"))


def is_context(value: Any) -> bool:
    """Return whether a value is the context of a workflow, which LlamaIndex passes to steps and tools."""
    kind = type(value)
    return kind.__name__ == "Context" and kind.__module__.startswith(("workflows.", "llama_index."))


def given(bound: BoundArguments) -> dict[str, Any]:
    """Return the arguments by name, `**options` included; `self`, contexts and None are left out."""
    values: dict[str, Any] = {}
    parameters = bound.signature.parameters
    for name, value in bound.arguments.items():
        if parameters[name].kind is Parameter.VAR_KEYWORD:
            values.update(value)
        elif value is not None and name not in NOT_GIVEN:
            values[name] = list(value) if parameters[name].kind is Parameter.VAR_POSITIONAL else value
    return {name: value for name, value in values.items() if not is_context(value)}


def options(bound: BoundArguments) -> Mapping[str, Any]:
    """Return the arguments that were passed as `**options`."""
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is Parameter.VAR_KEYWORD and isinstance(value, Mapping):
            return value
    return {}


def first(*names: str) -> Callable[[BoundArguments], Any]:
    """Return a reader of the first of these arguments that is not None."""

    def read(bound: BoundArguments) -> Any:
        arguments = bound.arguments
        for name in names:
            if arguments.get(name) is not None:
                return arguments[name]
        return None

    return read

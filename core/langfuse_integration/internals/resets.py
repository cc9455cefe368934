"""What `runtime.reset()` calls: modules that keep state for the whole process register how to forget it."""

from __future__ import annotations

from collections.abc import Callable

_functions: dict[Callable[[], object], None] = {}


def on_reset(function: Callable[[], object]) -> None:
    """Call *function* at every `runtime.reset()`; registered twice it is called once."""
    _functions[function] = None


def reset_all() -> None:
    """Call what is registered, in the order of registration."""
    for function in list(_functions):
        function()

"""Reset hooks: modules with process-wide state register a function that `runtime.reset()` calls."""

from __future__ import annotations

from collections.abc import Callable

_functions: dict[Callable[[], object], None] = {}


def on_reset(function: Callable[[], object]) -> None:
    """Call *function* at every `runtime.reset()`; registered twice it is called once."""
    _functions[function] = None


def reset_all() -> None:
    """Call all registered functions, in the order of registration."""
    for function in list(_functions):
        function()

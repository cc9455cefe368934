"""Exceptions like the recorded ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def recorded_error(form: Mapping[str, Any]) -> Exception:
    """Return an exception like the one in an exact form; a RuntimeError if its class is not loaded."""
    recorded = form.get("error") or {}
    name = str(recorded.get("type", ""))
    kind = _exception_class(name)
    arguments = tuple(recorded.get("args") or ())
    if kind is None:
        return RuntimeError(f"{name}: {', '.join(map(str, arguments))}")
    error: Exception = kind.__new__(kind, *arguments)
    error.args = arguments
    for attribute, value in (recorded.get("attributes") or {}).items():
        try:
            setattr(error, attribute, value)
        except AttributeError:
            continue
    return error


def _exception_class(name: str) -> type[Exception] | None:
    """Return the exception class of that name in a loaded module; nothing is imported for a file."""
    module, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(module), attribute, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None

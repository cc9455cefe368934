"""Interpreters without the interpreter lock (free-threaded Python 3.13 and later), whose threads run at the same time.

Where there is the lock, one thread at a time runs, and short steps of the hot path are atomic without a lock of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from . import forks

FREE_THREADED = "free-threading" in sys.version
"""Whether this is such an interpreter; it may have the lock all the same (PYTHON_GIL, an extension module)."""
_STRIPES = 64
_locks = [forks.Lock() for _ in range(_STRIPES)] if FREE_THREADED else []

Method = TypeVar("Method", bound=Callable[..., Any])


def one_at_a_time(method: Method) -> Method:
    """Let one thread at a time run *method* on an object; with the interpreter lock, *method* itself is returned."""
    if not FREE_THREADED:
        return method

    @wraps(method)
    def locked(self: Any, *arguments: Any, **options: Any) -> Any:
        with _locks[(id(self) >> 6) % _STRIPES]:
            return method(self, *arguments, **options)

    return locked  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

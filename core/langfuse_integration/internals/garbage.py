"""Whether the calling thread collects garbage.

Before Python 3.12 the collector may run inside of `ContextVar.set` and `reset`, and calls weak references' callbacks
there. One that sets a context variable then frees what the interrupted call still reads: the process crashes. So such a
callback leaves contexts alone while this thread collects. Newer Pythons collect between two instructions.
"""

from __future__ import annotations

import gc
import sys
import threading
from functools import cache
from typing import Any

_collector = 0


@cache
def watch() -> None:
    """Know of collections from now on."""
    if sys.version_info < (3, 12):
        gc.callbacks.append(_note)


def is_collecting() -> bool:
    """Return whether the calling code is run by the garbage collector, where that matters."""
    return _collector == threading.get_ident()


def _note(phase: str, _: dict[str, Any]) -> None:
    global _collector
    _collector = threading.get_ident() if phase == "start" else 0  # one collection at a time runs in a process

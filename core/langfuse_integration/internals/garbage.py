"""Whether the calling thread collects garbage.

Before Python 3.12 the collector may run inside of `ContextVar.set` and `reset`, and calls weak references' callbacks
there. One that sets a context variable then frees what the interrupted call still reads: the process crashes. So such a
callback leaves contexts alone while this thread collects. Newer Pythons collect between two instructions.

The collector's own callbacks run wherever something is allocated, also where the interpreter holds a lock that threads
need to begin and to end (`sys._current_frames`). Python code lets other threads run: one of them would wait for that
lock, with the interpreter's own in hand, and the process would stand still. So no line of Python runs there: what
notes a collection is made of functions of C.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

_running: dict[_Phases, dict[str, Any]] = {}
"""What the collector says of the collection that runs, one object for all callbacks; empty while none runs."""


class _Phases:
    """Takes what the collector says as the attributes `start` and `stop`, as it calls the two phases."""

    start = property(None, _running.__setitem__)
    stop = property(None, cast("Callable[[Any, Any], None]", _running.pop))


_phases = _Phases()
_here = threading.local()
"""What the collector said in this thread: `start` is of the last collection that it began."""


@cache
def watch() -> None:
    """Know of collections from now on."""
    if sys.version_info < (3, 12):
        gc.callbacks += [partial(setattr, _phases), partial(setattr, _here)]


def is_collecting() -> bool:
    """Return whether the calling code is run by the garbage collector, where that matters."""
    running = _running.get(_phases)
    return running is not None and getattr(_here, "start", None) is running

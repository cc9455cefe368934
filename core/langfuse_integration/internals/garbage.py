"""Whether the calling thread collects garbage, and how a context is changed then.

Before Python 3.12 the collector may run inside of `ContextVar.set` and `reset`, and calls weak references' callbacks
and finalizers there. One that sets a context variable frees what the interrupted call still reads, and leaves a value
in the variable's cache that is in no context afterwards: the process crashes. So a block or job that the collector ends
leaves contexts alone while this thread collects, and what a finalizer of the application sets is set with care. Newer
Pythons collect between two instructions.

The collector's own callbacks run wherever something is allocated, also where the interpreter holds a lock that threads
need to begin and to end (`sys._current_frames`). Python code lets other threads run: one of them would wait for that
lock, with the interpreter's own in hand, and the process would stand still. So no line of Python runs there: what
notes a collection is made of functions of C.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import cache, partial
from itertools import repeat
from typing import Any, cast

KEPT = 8
"""More collections than can interrupt one call."""

collecting: dict[_Phases, dict[str, Any]] = {}
"""What the collector says of the collection that runs, one object for all callbacks; empty while none runs, and where
that does not matter."""
_kept: deque[Context] = deque(maxlen=KEPT)

_Setter = Callable[[Any, Any], None]


class _Phases:
    """Takes what the collector says as the attributes `start` and `stop`, as it calls the two phases."""

    start = property(None, collecting.__setitem__)
    stop = property(None, cast("_Setter", collecting.pop))


class _Visits(map):  # type: ignore[type-arg]  # pyright: ignore[reportMissingTypeArgument]
    """Enters and leaves a context at the end of each collection: no variable's cache is valid after that."""

    stop = property(None, cast("_Setter", next))


_phases = _Phases()
_visits = _Visits(Context().run, repeat(int))
_here = threading.local()
"""What the collector said in this thread: `start` is of the last collection that it began."""


@cache
def watch() -> None:
    """Know of collections from now on."""
    if sys.version_info < (3, 12):
        gc.callbacks += [partial(setattr, place) for place in (_phases, _here, _visits)]


def is_collecting() -> bool:
    """Return whether the calling code is run by the garbage collector, where that matters."""
    collection = collecting.get(_phases)
    return collection is not None and getattr(_here, "start", None) is collection


def spare_context() -> None:
    """Keep what an interrupted call may read, before this context is changed: if `collecting`."""
    if is_collecting():
        _kept.append(copy_context())


def let_go() -> None:
    """Forget what was kept, unless a collection runs: no call of another thread is interrupted then."""
    if _kept and not collecting:
        _kept.clear()

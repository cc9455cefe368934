"""What the threads of this process are doing."""

from __future__ import annotations

import gc
import sys
from types import FrameType

_COLLECTS_INSIDE = sys.version_info < (3, 12)


def frames_by_thread() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by its identifier.

    Before Python 3.12 garbage may be collected inside of `sys._current_frames`, which holds a lock that threads need to
    begin and to end. A finalizer or callback of the application lets other threads run there, and the process stands
    still for ever once one of them needs the lock (seen on 3.11.7): nothing is collected meanwhile.
    """
    suspends = _COLLECTS_INSIDE and gc.isenabled()
    if suspends:
        gc.disable()
    try:
        return sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    finally:
        if suspends:
            gc.enable()

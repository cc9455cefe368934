"""The end of a child by SIGTERM: what it recorded is written first, where nobody else handles the signal.

Python calls a handler between two instructions of the main thread. A signal that comes just before this thread blocks,
or that another thread gets, waits as long as it blocks: for ever, perhaps, where SIGTERM ends a process without a
handler at once. So the signal's number goes into a pipe, too, as soon as it comes (`signal.set_wakeup_fd`), and the
thread at its other end ends the process, whatever the main thread does.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import BuiltinFunctionType, FrameType

from ..internals import forks

WAITS_S = 1.0
"""How long the main thread waits at most for its end, where it sees the signal: it may be about to do what lets no
other thread run, and it may hold a lock that the end needs.
"""
_UNCOMMON = 128
"""The least number of the descriptor to which Python writes: a file of the application gets a lower one, should it
close all descriptors."""

_write: Callable[[], object] = bool
_begun = forks.Lock(reentrant=False)  # taken by whoever ends the process
_pipe: tuple[int, int] | None = None


def write_first(write: Callable[[], object]) -> None:
    """Call *write* before SIGTERM ends this process, unless the application handles the signal. In the main thread.

    Not on Windows, where a process that is terminated is told nothing; nor where threads are greenlets (gevent,
    eventlet): all of them would wait with the one that listens, and a handler may not wait in their event loop.
    """
    global _write
    if sys.platform == "win32" or not isinstance(_thread.start_new_thread, BuiltinFunctionType):
        return
    _write = write
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, _on_terminate):
        signal.signal(signal.SIGTERM, _on_terminate)
        _listen()


def _on_terminate(signalnum: int, _frame: FrameType | None) -> None:
    """Have the process ended by another thread: the interrupted one may hold any lock. A second signal ends it."""
    signal.signal(signalnum, signal.SIG_DFL)
    if _begun.acquire(blocking=False):
        try:
            threading.Thread(target=_end, args=(signalnum,), name="langfuse-integration-end", daemon=True).start()
        except RuntimeError:  # no thread can be had any more
            os.kill(os.getpid(), signalnum)
    time.sleep(WAITS_S)


def _end(signalnum: int) -> None:
    try:
        _write()
    finally:
        _restore_default(signalnum)
        os.kill(os.getpid(), signalnum)


def _restore_default(signalnum: int) -> None:
    """Let the signal end the process, in any thread: `signal.signal` works in the main one only."""
    import ctypes

    restore = ctypes.pythonapi.PyOS_setsig
    restore.argtypes, restore.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    restore(signalnum, None)


def _listen() -> None:
    """Start the thread that ends the process, unless an event loop listens: that one wakes the main thread."""
    global _pipe
    if _pipe is not None:
        return
    reader, writer = _opened_pipe()
    others = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        if others == -1 and "trio" not in sys.modules:  # it warns of others who listen
            thread = threading.Thread(target=_wait, args=(reader,), name="langfuse-integration-signals", daemon=True)
            thread.start()
            _pipe = reader, writer
            return
    except RuntimeError:  # no thread can be had now
        pass
    signal.set_wakeup_fd(others)
    os.close(reader)
    os.close(writer)


def _opened_pipe() -> tuple[int, int]:
    import fcntl

    reader, writer = os.pipe()
    with suppress(OSError):  # so many files may not be open
        uncommon = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, _UNCOMMON)
        os.close(writer)
        writer = uncommon
    os.set_blocking(writer, False)
    return reader, writer


def _wait(reader: int) -> None:
    with suppress(OSError):  # the application has closed it
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is _on_terminate:
                if _begun.acquire(blocking=False):
                    _end(signal.SIGTERM)
                return


def _forked() -> None:
    """In a child, let go of the parent's pipe: what is written to it would end the parent."""
    global _pipe
    if _pipe is not None:
        pipe, _pipe = _pipe, None
        others = signal.set_wakeup_fd(-1)
        if others != pipe[1]:
            signal.set_wakeup_fd(others)
        for descriptor in pipe:
            with suppress(OSError):
                os.close(descriptor)


forks.in_child(_forked)

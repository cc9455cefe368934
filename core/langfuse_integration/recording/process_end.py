"""The ends of this process: whichever way it goes, what was recorded is delivered, or left whole for the next process.

An ordinary end runs exit handlers. A forked job often ends by `os._exit` (RQ's work horse, Celery's children, forked
pools), which runs none, and a server that was told to end may raise the signal again once it has shut down (uvicorn):
the two functions deliver first. A pool of multiprocessing ends its workers by SIGTERM as soon as the last result is
there: see termination.py. Nothing else is done about signals: their handlers are the application's.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import threading
import weakref
from typing import Any, NoReturn, Protocol

from ..internals.faults import shielded
from ..internals.loaded import loaded
from . import termination

LONGEST_S = 15.0
"""The longest that the end of a process may take, in s: the journal's time, the delivery's, and a last try."""
WRITTEN_S = 1.0
"""What a task waits at most for the journal, where its process may end unheard."""
_DEADLY = {getattr(signal, name, None) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")}
_ENDING = shielded("delivering at the end of the process")
_WRITING = shielded("writing the journal at the end of a task")


class EndsWithProcess(Protocol):
    """The part of a recorder that the end of a process uses."""

    def has_work(self) -> bool:
        """Return whether anything may be lost now."""
        ...

    def write(self, timeout_s: float) -> None:
        """Write the journal within the time limit."""
        ...

    def exit(self, *, deliver: bool = True) -> None:
        """Deliver within the recorder's own time limit, or only write the journal."""
        ...


recorders: weakref.WeakSet[Any] = weakref.WeakSet()
"""The recorders whose `exit` is called, each an `EndsWithProcess`."""
_watched: set[int] = set()
_exit_now = os._exit
_raise_signal = signal.raise_signal


def watch() -> None:
    """Register *ending* for the end of this process."""
    if os.getpid() in _watched:
        return
    if not _watched:
        atexit.register(_at_exit)
        os._exit = _delivering_exit
        signal.raise_signal = _delivering_raise
    _watched.add(os.getpid())
    parent_process = loaded("multiprocessing.process", "parent_process")
    if parent_process is not None and parent_process() is not None:
        # A child of multiprocessing ends by `os._exit`, after what is registered there.
        from multiprocessing.util import Finalize

        Finalize(None, _at_exit, exitpriority=-10)
        if threading.current_thread() is threading.main_thread():
            termination.write_first(_write_before_end)


def ends_unheard() -> bool:
    """Return whether this process is a worker of Ray (2.60), which ends by C's `_Exit`: no handler runs then."""
    worker = loaded("ray._private.worker", "global_worker")
    return worker is not None and getattr(worker, "mode", None) == loaded("ray._private.worker", "WORKER_MODE")


def write_here() -> None:
    """Wait until the journal has what was recorded: before the end of a task, where the process may end unheard."""
    with _WRITING:
        for recorder in list(recorders):
            recorder.write(WRITTEN_S)


def _at_exit(*, deliver: bool = True) -> None:
    for recorder in list(recorders):
        recorder.exit(deliver=deliver)


def _write_before_end() -> None:
    with _ENDING:
        _deliver(only_write=True)


def _deliver(*, only_write: bool = False) -> None:
    """Deliver on a thread of its own: this one may hold any lock, where it is told to end."""
    if os.getpid() in _watched and any(recorder.has_work() for recorder in list(recorders)):
        ending = functools.partial(_at_exit, deliver=not only_write)
        thread = threading.Thread(target=ending, name="langfuse-integration-end", daemon=True)
        thread.start()
        thread.join(LONGEST_S)


@functools.wraps(os._exit)
def _delivering_exit(status: int) -> NoReturn:
    with _ENDING:
        _deliver()
    _exit_now(status)


@functools.wraps(signal.raise_signal)
def _delivering_raise(signalnum: int, /) -> None:
    with _ENDING:
        if signalnum in _DEADLY and signal.getsignal(signalnum) is signal.SIG_DFL:
            _deliver()
    _raise_signal(signalnum)

"""Pools whose threads inherit a context: they begin with nobody's session, and in nobody's trace.

Python 3.14 with `-X thread_inherit_context=1`, and free-threaded, starts a thread in a copy of its starter's context. A
plain thread is work of who starts it, and keeps that. A pool starts its threads for whoever comes first, and they work
for everybody: what tells whose work runs is left out of the contexts that its threads are made with.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from ..internals.faults import shielded
from ..internals.loaded import loaded

POOLS = frozenset(
    {
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "distributed.threadpoolexecutor",
        "multiprocessing.pool",
        "multiprocess.pool",
        "pebble.pool.process",
        "pebble.pool.thread",
    }
)
"""The modules whose functions or classes are what a pool's threads run."""
_OURS = "langfuse_integration"
"""What the names of our variables begin with, and of our modules, whose threads keep nothing of who starts them."""
_VARIABLES = (
    ("langchain_core.runnables.config", "var_child_runnable_config"),
    ("llama_index_instrumentation.dispatcher", "active_instrument_tags"),
    ("llama_index_instrumentation.span", "active_span_id"),
)
"""Where frameworks keep the run that is current."""
_LEAVING_OUT = shielded("keeping a session out of a pool's thread")
_MARKER = "_langfuse_integration_separated"


def threads_inherit() -> bool:
    """Return whether this interpreter starts threads in a copy of their starter's context."""
    return bool(getattr(sys.flags, "thread_inherit_context", False))


def separate_pools() -> None:
    """Have the threads that pools make from now on begin with nobody's session; twice is once."""
    original: Callable[..., None] = threading.Thread.__init__
    if hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    def make(self: threading.Thread, group: None = None, target: Any = None, *rest: Any, **options: Any) -> None:
        if options.get("context") is None:
            with _LEAVING_OUT:
                modules = (getattr(target, "__module__", None) or "", type(self).__module__)
                if not POOLS.isdisjoint(modules):
                    options["context"] = _nobodys_context()
                elif modules[0].startswith(_OURS):
                    options["context"] = Context()
        original(self, group, target, *rest, **options)

    setattr(make, _MARKER, True)
    setattr(threading.Thread, "__init__", make)  # noqa: B010


def _nobodys_context() -> Context:
    """Return a copy of this context without what tells whose work runs."""
    left_out = [loaded(module, name) for module, name in _VARIABLES]
    left_out.append(getattr(loaded("opentelemetry.context", "_RUNTIME_CONTEXT"), "_current_context", None))
    context = Context()
    for variable, value in copy_context().items():
        if variable not in left_out and not variable.name.startswith(_OURS):
            context.run(variable.set, value)
    return context

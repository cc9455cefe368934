"""Flows: the task or thread in which an application does something, and whether one thing comes after another there.

A task knows the task or thread that created it. What a flow has created does not run beside it where it was over before
the next was created: agents that are awaited in turn, steps of a workflow.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from typing import Any

from .patches import Patches

_moments = itertools.count(1)


def moment() -> int:
    """Return a number that is greater than every earlier one."""
    return next(_moments)


class TaskFlow:
    """One task of the application.

    Attributes:
        parent: the flow that created it; None where that is not known.
        created, over: moments; `over` is 0 while it runs.
    """

    __slots__ = ("created", "over", "parent")

    def __init__(self, parent: Hashable | None) -> None:
        self.parent = parent
        self.created = moment()
        self.over = 0

    def end(self, _: Any) -> None:
        """Note that it is over."""
        self.over = moment()


_tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], TaskFlow] = weakref.WeakKeyDictionary()


def flow_here() -> Hashable:
    """Return the task or thread in which this runs; each call of a pool's thread is a flow of its own."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is not None:
        flow = _tasks.get(task)
        if flow is None:  # created before the replay, or by a loop that is not Python's
            flow = _tasks[task] = TaskFlow(None)
        return flow
    thread = threading.current_thread()
    return object() if _is_of_pool(thread) else thread


def _is_of_pool(thread: threading.Thread) -> bool:
    """Return whether a thread works for many: of an executor, asyncio's own among them, or of anyio."""
    target = getattr(getattr(thread, "_target", None), "__module__", "")
    kind = type(thread).__module__
    named = "ThreadPoolExecutor" in thread.name or thread.name.startswith("asyncio_")
    return named or target.startswith("concurrent.futures") or kind.startswith("anyio")


@contextmanager
def tasks_noted() -> Generator[None]:
    """Note within the block who creates which task."""
    patches = Patches()

    def noting(original: Callable[..., asyncio.Task[Any]]) -> Callable[..., asyncio.Task[Any]]:
        @functools.wraps(original)
        def create_task(*positional: Any, **named: Any) -> asyncio.Task[Any]:
            flow = TaskFlow(flow_here())
            task = original(*positional, **named)
            _tasks[task] = flow
            task.add_done_callback(flow.end)
            return task

        return create_task

    patches.wrap(asyncio.BaseEventLoop, "create_task", noting)
    try:
        yield
    finally:
        patches.undo()


def is_after(flow: Hashable, at: int, other: Hashable, other_at: int) -> bool:
    """Return whether the application does something only when an earlier thing is over.

    Args:
        flow, at: where and when the later one is done.
        other, other_at: those of the earlier one.
    """
    later, earlier = _lineage(flow), _lineage(other)
    if later[-1] is not earlier[-1]:
        return False
    while later and earlier and later[-1] is earlier[-1]:
        later.pop()
        earlier.pop()
    began = later[-1].created if later else at
    over = earlier[-1].over if earlier else other_at
    return 0 < over < began


def _lineage(flow: Any) -> list[Any]:
    """Return a flow, the one that created it, and so on."""
    lineage = [flow]
    while isinstance(flow, TaskFlow) and flow.parent is not None:
        flow = flow.parent
        lineage.append(flow)
    return lineage

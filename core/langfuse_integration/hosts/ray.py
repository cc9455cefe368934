"""Tasks of Ray: one thread of a worker runs those of several users, one after the other.

Ray's loop is written in C++, so that no Python object lives as long as a task; each has a number. What an actor's
constructor sets is not a task's: it holds for the methods that run in its thread.
"""

from __future__ import annotations

from ..internals.loaded import loaded
from ..sessions.jobs import NumberedJob
from ..sessions.store import SessionStore
from .numbered_jobs import NumberedJobs

LOOPS = frozenset(
    {("main_loop", "ray._private.worker"), ("actor_method_executor", "ray._private.function_manager")},
)
"""What runs one task after the other, and what runs a method of an actor with several threads (Ray 2.60). Methods that
are coroutines have contexts of their own."""
_CONSTRUCTOR = "f" * 16
"""How the number of the task begins in which an actor is made."""


class RayTask(NumberedJob):
    """A task of a Ray worker."""

    __slots__ = ("number",)

    def __init__(self, number: str) -> None:
        self.number = number

    def serves_here(self) -> bool:
        """Return whether this thread runs the task now."""
        return _number() == self.number


_TASKS = NumberedJobs()


def current_task(store: SessionStore) -> NumberedJob | None:
    """Return the task that runs in this thread; None in a constructor, and where Ray does not say."""
    number = _number()
    if number is None or number.startswith(_CONSTRUCTOR):
        return None
    return _TASKS.job(store, number, RayTask)


def _number() -> str | None:
    worker = loaded("ray._private.worker", "global_worker")
    try:
        return str(worker.core_worker.get_current_task_id().hex())
    except Exception:  # noqa: BLE001  a release of Ray without it
        return None

"""The parts of this process put together: the store, the registry and the recorder, and how something starts.

Adapters start their runs and observations here; users have the manager.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ..sessions.session import Session
from ..sessions.store import SessionStore
from . import ambient
from .misuse import Advice
from .observation import Observation, ObservationType, Parent
from .recorder import QueueRecorder, Worker, WorkerFactory
from .registry import FoldedRun, Run, registry

store = SessionStore()
misuse = Advice(store)


class Hooks:
    """What the composition root puts in: see runtime.py.

    Attributes:
        make_worker: makes the worker, on its own thread: nothing heavy is loaded on the application's.
        ready: called before anything starts; makes the process ready at the first call.
    """

    __slots__ = ("make_worker", "ready")

    def __init__(self) -> None:
        self.make_worker: WorkerFactory = _no_worker
        self.ready: Callable[[], None] = lambda: None


def _no_worker(recorder: QueueRecorder) -> Worker:
    raise RuntimeError("recording.tracing is used without langfuse_integration.runtime")


hooks = Hooks()
recorder = QueueRecorder(lambda recorder: hooks.make_worker(recorder))

__all__ = [
    "fold_below",
    "hooks",
    "misuse",
    "open_below",
    "open_run",
    "recorder",
    "registry",
    "start",
    "start_below",
    "store",
]


def start(
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    *,
    input: Any = None,  # noqa: A002  Langfuse's word
    metadata: dict[str, Any] | None = None,
) -> Observation:
    """Start an observation under what is current here, in the session that is active here."""
    hooks.ready()
    parent = ambient.current()
    session, origin = store.resolve(parent)
    return _started(Observation(name, type, recorder, parent, session, origin, input, metadata), parent)


def start_below(
    parent: Parent,
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    *,
    input: Any = None,  # noqa: A002  Langfuse's word
    metadata: dict[str, Any] | None = None,
) -> Observation:
    """Start an observation under *parent*, in its session; what is active here is not asked."""
    return Observation(name, type, recorder, parent, parent.session, parent.origin, input, metadata)


def open_run(
    key: Hashable,
    parent_key: Hashable | None,
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    *,
    input: Any = None,  # noqa: A002  Langfuse's word
    metadata: dict[str, Any] | None = None,
    session: Session | None = None,
    suggested: Session | None = None,
    above: Parent | None = None,
    folded: bool = False,
    state: Any = None,
) -> Run | None:
    """Open a run of a framework, or return None when it is open already.

    A run with a parent run takes over that run's session and nothing else counts, since callbacks may arrive in
    anybody's context. A root run stands under what is current here, and captures the session once.

    Args:
        key: the framework's id of the run.
        parent_key: the same of the run above, or None.
        session: what a handler was bound to; it goes before everything.
        suggested: what the root run's own metadata says; it goes before what is active here.
        above: the parent to take instead: a span that is open inside of the parent run, or a remembered trace when no
            run is known by *parent_key*.
        folded: plumbing: its children stand under the run above, and it makes no row unless it is the root.
        state: whatever the adapter keeps for the run.
    """
    if key in registry:
        return None
    hooks.ready()
    parent_run = registry.get(parent_key) if parent_key is not None else None
    parent: Parent | None = (above or parent_run.anchor) if parent_run is not None else None
    if parent is None and parent_key is not None:
        parent = registry.footprint(parent_key)
    if parent is not None:
        captured, origin = parent.session, store.current()
    else:
        parent = above or ambient.current()
        captured, origin = store.resolve(parent)
        if captured is None and above is not None:
            captured = above.session
        if suggested is not None and (parent is None or parent.session is None):
            captured = suggested
    observation = Observation(name, type, recorder, parent, session or captured, origin, input, metadata)
    folded = folded and parent is not None
    run = Run(key, observation, parent_run, folded=folded, anchor=parent if folded else None, state=state)
    if not registry.open(run):
        return None
    if not folded:
        _started(observation, parent)
    return run


def open_below(
    key: Hashable,
    parent_run: Run,
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    input: Any,  # noqa: A002  Langfuse's word
    state: Any,
    session: Session | None,
    above: Parent | None,
) -> Run | None:
    """Do what `open_run` does for a row below a run that is open, at half the cost."""
    parent = above or parent_run.anchor
    observation = Observation(name, type, recorder, parent, session or parent.session, store.current(), input)
    run = Run(key, observation, parent_run, state=state)
    if not registry.open(run):
        return None
    if observation.app_root or type == "agent":
        recorder.opened(observation)
    return run


def fold_below(
    key: Hashable, parent_run: Run, state: Any, above: Parent | None, make: Callable[[FoldedRun], Observation]
) -> Run | None:
    """Do the same for plumbing: nothing is recorded of it unless it turns out to be more."""
    run = FoldedRun(key, parent_run, above or parent_run.anchor, make, state)
    return run if registry.open(run) else None


def _started(observation: Observation, parent: Parent | None) -> Observation:
    """Note what one needs to see when the process dies: agents, and what has nothing of this process above it.

    A parent of which no start is known is in another process: an upstream service that exports to Langfuse itself.
    """
    if observation.app_root or observation.type == "agent" or (parent is not None and not parent.started_ns):
        recorder.opened(observation)
        if observation.session is None and observation.app_root:
            misuse.untagged(observation)
    return observation

"""The parts of this process put together: the store, the registry and the recorder, and how something starts.

Adapters start their runs and observations here; users have the manager.
"""

from __future__ import annotations

from collections.abc import Callable
from os import getpid
from sys import modules
from typing import Any

from ..sessions.session import Session
from ..sessions.store import SessionStore
from . import ambient
from .anchor import Anchor, Parent, companion_parents
from .misuse import MisuseWarnings
from .observation import Observation, ObservationType
from .recorder import QueueRecorder, RecordingWorker, WorkerFactory
from .registry import Run, RunStart, registry

store = SessionStore()
misuse = MisuseWarnings(store)


class Hooks:
    """What the composition root puts in: see runtime.py.

    Attributes:
        make_worker: makes the worker, on its own thread: nothing heavy is loaded on the application's.
        ready: makes the process ready; called before something starts, unless the process is ready.
        process_id: the process that is ready; 0 before.
        awaited: a module whose import makes another call of `ready` necessary, or empty.
    """

    __slots__ = ("awaited", "make_worker", "process_id", "ready")

    def __init__(self) -> None:
        self.make_worker: WorkerFactory = _no_worker
        self.ready: Callable[[], None] = lambda: None
        self.process_id = 0
        self.awaited = ""


def _no_worker(recorder: QueueRecorder) -> RecordingWorker:
    raise RuntimeError("recording.tracing is used without langfuse_integration.runtime")


hooks = Hooks()
recorder = QueueRecorder(lambda recorder: hooks.make_worker(recorder))

__all__ = [
    "fold_run",
    "hooks",
    "misuse",
    "open_run",
    "recorder",
    "registry",
    "start",
    "start_below",
    "store",
]


def _make_ready() -> None:
    """Make process and recorder ready; the condition is written out where it is called, a call less for each row."""
    hooks.ready()
    if not recorder.prepared:
        recorder.prepare()


def start(
    name: str,
    type: ObservationType,  # noqa: A002  Langfuse's word
    *,
    input: Any = None,  # noqa: A002  Langfuse's word
    metadata: dict[str, Any] | None = None,
) -> Observation:
    """Start an observation under what is current here, in the session that is active here."""
    if getpid() != hooks.process_id or hooks.awaited in modules or not recorder.prepared:
        _make_ready()
    parent = ambient.current()
    observation = Observation(name, type, recorder, parent, store.resolve(parent), input)
    observation.metadata = metadata
    return _started(observation, parent)


def start_below(parent: Parent, name: str, type: ObservationType, *, input: Any = None) -> Observation:  # noqa: A002
    """Start an observation under *parent*, in its session; what is active here is not asked."""
    return Observation(name, type, recorder, parent, (parent.session, parent.origin), input)


def open_run(start: RunStart, input: Any = None, parent: Run | None = None) -> Run | None:  # noqa: A002
    """Open a run of a framework, or return None when it is open already.

    A run with a parent takes over the parent's session, since callbacks may arrive in anybody's context. Only where the
    parent's own code starts it, a session that was set or propagated in that code holds. A root run stands
    under what is current here, and captures the session once.

    Args:
        start: what the adapter tells of it; it stays as `Run.state`.
        input: of the observation.
        parent: the run above, if it is open.
    """
    if parent is None:
        return _open_root(start, input)
    anchor = start.above or parent.anchor
    session, now = anchor.session, store.current()
    if now is not anchor.origin and start.called_by(parent.key):
        session = store.below(now, anchor)
    if start.session is not None:
        session = start.session.over(session)
    observation = Observation(start.name, start.type, recorder, anchor, (session, now), input)
    run = registry.open(start, parent, observation, observation)
    if run is not None and (observation.app_root or start.type == "agent"):
        recorder.opened(observation)
    return run


def fold_run(start: RunStart, parent: Run) -> Run | None:
    """Open a run of plumbing below *parent*: nothing is recorded of it unless it turns out to be more."""
    anchor = start.above or parent.anchor
    now = store.current()
    if now is not anchor.origin:  # what starts below the run compares with here
        session = store.below(now, anchor) if start.called_by(parent.key) else anchor.session
        anchor = Anchor(anchor.trace, anchor.span, (session, now), anchor.started_ns, anchor.exported)
    return registry.open(start, parent, anchor)


def _open_root(start: RunStart, input: Any) -> Run | None:  # noqa: A002
    if registry.get(start.key) is not None:
        return None
    if getpid() != hooks.process_id or hooks.awaited in modules or not recorder.prepared:
        _make_ready()
    parent: Parent | None = registry.footprint(start.parent_key) if start.parent_key is not None else None
    if parent is not None:
        session, origin = _left_behind(start, parent)
    else:
        parent = start.above or ambient.current()
        if getattr(parent, "repeats", None) == start.key:  # a span that somebody else made of the same run
            parent = parent.above  # type: ignore[union-attr]
        session, origin = store.resolve(parent)
        if start.above is not None and start.above.session is not None and (session is None or not session.session_id):
            session = start.above.session if session is None else session.over(start.above.session)
        if start.suggested is not None and (parent is None or parent.session is None):
            session = start.suggested
        if start.named is not None:
            session = start.named.over(session)
    if start.session is not None:
        session = start.session.over(session)
    observation = Observation(start.name, start.type, recorder, parent, (session, origin), input)
    run = registry.open(start, None, observation, observation)
    if run is not None:
        _started(observation, parent)
    return run


def _left_behind(start: RunStart, parent: Parent) -> tuple[Session | None, Session | None]:
    """Return (session, origin) of a run below *parent*, which has ended: it may have left a task behind."""
    now = store.current()
    if now is not parent.origin and start.called_by(start.parent_key):
        return store.below(now, parent), now
    return parent.session, now


def _started(observation: Observation, parent: Parent | None) -> Observation:
    """Note what one needs to see when the process dies: agents, and what has nothing of this process above it.

    A parent of which no start is known is in another process: an upstream service that exports to Langfuse itself.
    """
    if parent is not None and parent.companion:
        companion_parents[observation.span] = parent.companion
    if observation.app_root or observation.type == "agent" or (parent is not None and not parent.started_ns):
        recorder.opened(observation)
        if observation.session is None and observation.app_root:
            misuse.untagged(observation)
    return observation

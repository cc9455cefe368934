"""RQ: the session and the trace of who enqueues a job follow it; else each job begins with no session.

    from langfuse_integration.hosts.rq import instrument

    instrument()          # where jobs are enqueued, and in the module of the functions that a worker runs

They travel in the job's `meta`, so that retries, repeats and dependent jobs keep them. Three methods of RQ are wrapped,
`Job.create` and the worker's `perform_job` and `fork_work_horse` (RQ 3.0).

A worker that imports the jobs' module before it starts also loads what delivers before its first fork: else each job
loads that anew, for 0.3 s of CPU.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from ..internals import forks
from ..internals.faults import shielded
from ..internals.loaded import loaded
from ..sessions.store import SessionStore
from .tasks import HEADER, Task, sender_header

WORKERS = {"rq.worker": "Worker", "rq.worker.base": "BaseWorker"}
"""Where `perform_job` is defined, by module: RQ 2, and 3."""

FORKING_WORKERS = {"rq.worker": "Worker", "rq.worker.worker_classes": "Worker"}
"""Where `fork_work_horse` is defined, by module: RQ 2, and 3."""
NEEDED_BY_JOBS = (
    "export.delivery",
    "export.erasure",
    "export.journal_outlet",
    "export.langfuse_target",
    "export.routing",
    "export.sender",
    "export.worker",
    "internals.callsite",
    "langfuse_sdk.customised_client",
    "langfuse_sdk.provider",
    "recording.span_scope",
    "sessions.shared_state.shared_map",
)
"""The modules that a process loads to record and deliver its first observation, with what they import."""

_LOADING = shielded("loading what RQ's jobs need")
_MARKER = "_langfuse_integration_separated"
_lock = forks.Lock()
_follows_sender = False
_continued: list[Task] = []
"""The job that ran already when `instrument` was called, until the next one begins."""


def instrument() -> None:
    """Have each job continue the trace and the session of who enqueued it; twice is once.

    A worker imports the module of a job's function when the job runs already: that job is continued from here on.
    """
    global _follows_sender
    import_module("rq.worker")
    from rq.job import Job, get_current_job

    with _lock:
        running = None if _follows_sender else get_current_job()
        _follows_sender = True
        _separate()
        create = Job.__dict__.get("create")
        if isinstance(create, classmethod) and not hasattr(create.__func__, _MARKER):
            setattr(Job, "create", classmethod(_noting_sender(create.__func__)))  # noqa: B010
    if running is not None:
        _continued.append(Task(_header(running)).__enter__())


def uninstrument() -> None:
    """Have jobs that are enqueued or begin from now on continue nothing: each begins with no session."""
    global _follows_sender
    _follows_sender = False


def separate_jobs(store: SessionStore, module: str) -> None:
    """Have each job begin with no session: what the process does without `instrument` once a session was set."""
    with _lock:
        _separate()


def _separate() -> None:
    for module, class_name in WORKERS.items():
        worker = loaded(module, class_name)
        original = getattr(worker, "__dict__", {}).get("perform_job")
        if callable(original) and not hasattr(original, _MARKER):
            worker.perform_job = _in_a_task(original)
    for module, class_name in FORKING_WORKERS.items():
        worker = loaded(module, class_name)
        original = getattr(worker, "__dict__", {}).get("fork_work_horse")
        if callable(original) and not hasattr(original, _MARKER):
            worker.fork_work_horse = _loaded_before(original)


def _loaded_before(original: Any) -> Any:
    @functools.wraps(original)
    def fork_work_horse(*arguments: Any, **options: Any) -> Any:
        with _LOADING:
            _load_what_jobs_need()
        return original(*arguments, **options)

    setattr(fork_work_horse, _MARKER, True)
    return fork_work_horse


@functools.cache
def _load_what_jobs_need() -> None:
    """Load modules; nothing is started, opened or registered."""
    for name in NEEDED_BY_JOBS:
        import_module(f"langfuse_integration.{name}")


def _in_a_task(original: Any) -> Any:
    @functools.wraps(original)
    def perform_job(worker: Any, job: Any, *arguments: Any, **options: Any) -> Any:
        while _continued:
            _continued.pop().__exit__(None, None, None)
        with Task(_header(job)):
            return original(worker, job, *arguments, **options)

    setattr(perform_job, _MARKER, True)
    return perform_job


def _header(job: Any) -> object:
    meta = getattr(job, "meta", None)
    return meta.get(HEADER) if _follows_sender and isinstance(meta, dict) else None


def _noting_sender(original: Any) -> Any:
    @functools.wraps(original)
    def create(cls: Any, *arguments: Any, **options: Any) -> Any:
        job = original(cls, *arguments, **options)
        header = sender_header() if _follows_sender else None
        if header is not None and isinstance(job.meta, dict):
            job.meta.setdefault(HEADER, header)
        return job

    setattr(create, _MARKER, True)
    return create

"""Celery: the session and the trace of who sends a task follow it; else each task begins with no session.

    from langfuse_integration.hosts.celery import instrument

    instrument()          # where tasks are sent, and where they run: in the module of the Celery application

Retries, chains, groups and chords are followed too, since each is sent by code in the session. A task that runs eagerly
is part of its caller's work, and stays in its session and trace in any case. By Celery's public signals (5.3 to 5.7).
"""

from __future__ import annotations

from typing import Any

from celery import signals  # pyright: ignore[reportMissingTypeStubs]

from ..internals import forks
from ..internals.faults import shielded
from ..sessions.store import SessionStore
from .tasks import HEADER, Task, sender_header

_BEGINNING = shielded("beginning a Celery task")
_ENDING = shielded("ending a Celery task")
_RUNNING = "_langfuse_integration_task"
_lock = forks.Lock()
_follows_sender = False


def instrument() -> None:
    """Have each task continue the trace and the session of who sent it; twice is once."""
    global _follows_sender
    with _lock:
        _follows_sender = True
        signals.before_task_publish.connect(_sending, weak=False, dispatch_uid=HEADER)
        _separate()


def uninstrument() -> None:
    """Have tasks that are sent or begin from now on continue nothing: each begins with no session."""
    global _follows_sender
    with _lock:
        _follows_sender = False
        signals.before_task_publish.disconnect(_sending, dispatch_uid=HEADER)


def separate_tasks(store: SessionStore, module: str) -> None:
    """Have each task begin with no session: what the process does without `instrument` once a session was set."""
    with _lock:
        _separate()


def _separate() -> None:
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=HEADER)
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=HEADER)


def _sending(headers: Any = None, **rest: Any) -> None:
    if isinstance(headers, dict):
        header = sender_header()
        if header is not None:
            headers[HEADER] = header


def _begin(task: Any = None, **rest: Any) -> None:
    with _BEGINNING:
        request = task.request
        if not request.is_eager:
            running = Task(getattr(request, HEADER, None) if _follows_sender else None)
            running.__enter__()
            setattr(request, _RUNNING, running)


def _end(task: Any = None, **rest: Any) -> None:
    with _ENDING:
        running = task.request.__dict__.pop(_RUNNING, None)
        if running is not None:
            running.__exit__(None, None, None)

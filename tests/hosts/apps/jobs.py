"""Tasks for Celery, RQ and Dramatiq: each sets a session if a user is given, and records one span."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery

from langfuse_integration import langfuse_manager

FOLLOWED = os.environ.get("FOLLOWED") == "1"
app = Celery("jobs", broker=os.environ.get("REDIS", "memory://"), backend=os.environ.get("REDIS"))
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True, task_default_retry_delay=0)
if FOLLOWED:
    from langfuse_integration.hosts.celery import instrument as instrument_celery
    from langfuse_integration.hosts.rq import instrument as instrument_rq

    instrument_celery()
    instrument_rq()


def work(name: str, user: str = "") -> str:
    """Record the work of a user, or of nobody."""
    if user:
        langfuse_manager.set_session(f"chat-of-{user}", user_id=user)
    with langfuse_manager.trace_span(name):
        return name


def loading() -> None:
    """Record what recording and delivering the first span loads of this package and of OpenTelemetry."""
    before = set(sys.modules)
    work("first")
    langfuse_manager.flush()
    names = [name for name in sys.modules.keys() - before if name.startswith(("langfuse_integration", "opentelemetry"))]
    work(" ".join(["loaded", *sorted(names)]))


def held(folder: str) -> None:
    """Record a span that is open until there is a file `go`."""
    with langfuse_manager.trace_span("held"):
        Path(folder, "begun").touch()
        while not Path(folder, "go").exists():
            time.sleep(0.01)


@app.task
def task(name: str, user: str = "") -> str:
    return work(name, user)


@app.task
def held_task(folder: str) -> None:
    held(folder)


@app.task
def step(before: Any, name: str) -> str:
    return work(name)


@app.task(bind=True, max_retries=2)
def fails_at_first(self: Any, name: str) -> str:
    work(f"{name} {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return name


def failing(name: str) -> None:
    """Fail for the first two times that RQ runs it."""
    from rq import get_current_job

    job = get_current_job()
    assert job is not None
    left = job.retries_left or 0
    work(f"{name} {left}")
    if left:
        raise ValueError("again")

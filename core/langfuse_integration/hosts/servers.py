"""WSGI servers and task queues, whose threads serve one after the other: each request or task begins with no session.

A middleware of this package is not needed for that: where one of these is loaded when a session is first set, the
method with which it serves one request or task runs in a cell of its own from then on. uWSGI is written in C and has no
such method: there a request is known by its number. Celery has signals: see celery.py.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..internals.loaded import loaded
from ..sessions.cells import Cell
from ..sessions.store import SessionStore

METHODS = {
    "gunicorn.workers.sync": ("SyncWorker", "handle_request"),
    "gunicorn.workers.gthread": ("ThreadWorker", "handle_request"),
    "gunicorn.workers.base_async": ("AsyncWorker", "handle_request"),
    "waitress.task": ("WSGITask", "execute"),
    "werkzeug.serving": ("WSGIRequestHandler", "run_wsgi"),
    "wsgiref.handlers": ("BaseHandler", "run"),
    "cheroot.server": ("HTTPRequest", "respond"),
    "gevent.pywsgi": ("WSGIHandler", "run_application"),
    "dramatiq.worker": ("_WorkerThread", "process_message"),
}
"""The method that serves one request or task from its begin to its end, by module.

Seen in gunicorn 27, waitress 3, Werkzeug 3.1, Python 3.11, gevent 26, Dramatiq 2.2; cheroot 10 was only read.
"""

SERVERS = (*METHODS, "uwsgi", "celery.app.trace", "rq.worker")

_MARKER = "_langfuse_integration_separated"


def separate_requests(store: SessionStore, module: str) -> None:
    """Have each request or task in *module* begin with no session, unless its method is not there."""
    if module == "uwsgi":
        store.add_host(UwsgiHost())
        return
    if module == "celery.app.trace":
        from .celery import separate_tasks

        separate_tasks(store, module)
        return
    if module == "rq.worker":
        from .rq import separate_jobs

        separate_jobs(store, module)
        return
    class_name, method = METHODS[module]
    server = loaded(module, class_name)
    original: Callable[..., Any] | None = getattr(server, "__dict__", {}).get(method)
    if not callable(original) or hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    def serve(*arguments: Any, **options: Any) -> Any:
        with store.visiting(Cell.of_request()):
            return original(*arguments, **options)

    setattr(serve, _MARKER, True)
    setattr(server, method, serve)


class UwsgiHost:
    """Knows a request by its thread and the number that uWSGI gives it (2.0.31)."""

    def __init__(self) -> None:
        self._thread = _ServerThread()

    def cell(self) -> Cell | None:
        """Return the cell of the request that this thread serves, or None outside of requests."""
        thread = self._thread
        try:
            number = sys.modules["uwsgi"].request_id()
        except Exception:  # noqa: BLE001  uWSGI raises SystemError where no request is served
            return None
        if thread.cell is None or thread.number != number:
            thread.number, thread.cell = number, Cell.of_request()
        return thread.cell


class _ServerThread(threading.local):
    number = -1
    cell: Cell | None = None

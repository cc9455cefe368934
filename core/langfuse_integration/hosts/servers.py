"""WSGI servers, whose threads serve one request after the other: each request begins with no session.

A middleware of this package is not needed for that: where one of these servers is loaded when a session is first set,
the method with which it serves one request runs in a cell of its own from then on. uWSGI is written in C and has no
such method: there a request is known by its number.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..sessions.store import Cell, SessionStore

METHODS = {
    "gunicorn.workers.sync": ("SyncWorker", "handle_request"),
    "gunicorn.workers.gthread": ("ThreadWorker", "handle_request"),
    "gunicorn.workers.base_async": ("AsyncWorker", "handle_request"),
    "waitress.task": ("WSGITask", "execute"),
    "werkzeug.serving": ("WSGIRequestHandler", "run_wsgi"),
    "wsgiref.handlers": ("BaseHandler", "run"),
    "cheroot.server": ("HTTPRequest", "respond"),
    "gevent.pywsgi": ("WSGIHandler", "run_application"),
}
"""The method that serves one request from its first byte to its last, by module.

Seen in gunicorn 20 to 27, waitress 3, Werkzeug 2 and 3, Python 3.11 to 3.14, cheroot 10, gevent 24 to 26.
"""

SERVERS = (*METHODS, "uwsgi")

_MARKER = "_langfuse_integration_separated"


def separate_requests(store: SessionStore, module: str) -> None:
    """Have each request of the server in *module* begin with no session, unless its method is not there."""
    if module == "uwsgi":
        store.add_host(UwsgiHost())
        return
    class_name, method = METHODS[module]
    server: Any = getattr(sys.modules.get(module), class_name, None)
    original: Callable[..., Any] | None = getattr(server, "__dict__", {}).get(method)
    if not callable(original) or hasattr(original, _MARKER):
        return

    @functools.wraps(original)
    def serve(*arguments: Any, **options: Any) -> Any:
        with store.visiting(Cell.hosted()):
            return original(*arguments, **options)

    setattr(serve, _MARKER, True)
    setattr(server, method, serve)


class UwsgiHost:
    """Knows a request by its thread and the number that uWSGI gives it (2.0.31)."""

    def __init__(self) -> None:
        self._thread = _Thread()

    def cell(self) -> Cell | None:
        """Return the cell of the request that this thread serves, or None outside of requests."""
        thread = self._thread
        try:
            number = sys.modules["uwsgi"].request_id()
        except Exception:  # noqa: BLE001  uWSGI raises SystemError where no request is served
            return None
        if thread.cell is None or thread.number != number:
            thread.number, thread.cell = number, Cell.hosted()
        return thread.cell


class _Thread(threading.local):
    number = -1
    cell: Cell | None = None

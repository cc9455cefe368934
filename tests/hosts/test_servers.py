"""Real servers that reuse their threads and processes: no request is in the session of another one."""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from applications import PATIENT
from hosts.serving import APPS
from machine import need_program
from peers.otlp import Receiver
from peers.ports import free_port
from peers.waiting import until

LEVEL = "langfuse.observation.level"
BIN = Path(sys.executable).parent
WERKZEUG = (
    "from werkzeug.serving import run_simple; import visits; "
    "run_simple('127.0.0.1', PORT, visits.application, threaded=THREADED)"
)
CHEROOT = "from cheroot.wsgi import Server; import visits; Server(('127.0.0.1', PORT), visits.application).start()"
PYWSGI = (
    "from gevent import monkey; monkey.patch_all(); from gevent.pywsgi import WSGIServer; import visits; "
    "WSGIServer(('127.0.0.1', PORT), visits.application, log=None).serve_forever()"
)
WSGIREF = (
    "from wsgiref.simple_server import make_server; import visits; "
    "make_server('127.0.0.1', PORT, visits.application).serve_forever()"
)
GUNICORN = ["gunicorn", "visits:application", "-b", "127.0.0.1:PORT"]
UWSGI = ["uwsgi", "--http-socket", "127.0.0.1:PORT", "--module", "visits:application", "--die-on-term", "--need-app",
         "--enable-threads", "--master"]  # fmt: skip
SERVERS = {
    "wsgiref": [sys.executable, "-c", WSGIREF],
    "gunicorn sync": [*GUNICORN, "--workers", "2"],
    "gunicorn preload": [*GUNICORN, "--workers", "2", "--preload"],
    "gunicorn gthread": [*GUNICORN, "-k", "gthread", "--threads", "4"],
    "gunicorn gevent": [*GUNICORN, "-k", "gevent"],
    "gunicorn uvicorn": [*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "--workers", "2"],
    "waitress": ["waitress-serve", "--listen=127.0.0.1:PORT", "--threads=3", "visits:application"],
    "werkzeug": [sys.executable, "-c", WERKZEUG.replace("THREADED", "False")],
    "werkzeug threads": [sys.executable, "-c", WERKZEUG.replace("THREADED", "True")],
    "cheroot": [sys.executable, "-c", CHEROOT],
    "gevent pywsgi": [sys.executable, "-c", PYWSGI],
    "uvicorn": ["uvicorn", "--port", "PORT", "--workers", "2", "--log-level", "warning", "visits:application"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:PORT", "wsgi:visits:application"],
    "hypercorn asgi": ["hypercorn", "--bind", "127.0.0.1:PORT", "asgi:visits:application"],
    "granian": ["granian", "--interface", "wsgi", "--port", "PORT", "visits:application"],
    "granian asgi": ["granian", "--interface", "asgi", "--port", "PORT", "visits:application"],
    "a2wsgi": ["uvicorn", "--port", "PORT", "--factory", "visits:for_asgi"],
    "uwsgi": [*UWSGI, "--threads", "3", "--processes", "2", "--py-call-osafterfork"],
    "uwsgi that forks without hooks": [*UWSGI, "--processes", "3"],
}
ASGI_SERVERS = [name for name in SERVERS if "uvicorn" in name or "asgi" in name]
WSGI_SERVERS = [name for name in SERVERS if name not in ASGI_SERVERS]
APPLICATIONS = [
    *(f"{name}{wrapped}" for name in ("flask_app", "django_app", "pyramid_app") for wrapped in ("", "_in_middleware")),
    "plain",
]
REQUESTS = int(os.environ.get("REQUESTS", "10000"))
"""What the largest test sends to each server; the other ones send less."""


@contextmanager
def server(name: str, app: str, receiver: Receiver, journal: Path) -> Iterator[int]:
    """A server that serves *app* of apps/visits.py, by its port; it is told to end at the end of the block."""
    for module in ("gevent", "pyramid", "hypercorn", "granian", "a2wsgi", "cheroot"):
        if module in name or module in app:
            pytest.importorskip(module)
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in SERVERS[name]]
    if command[0] != sys.executable:
        command[0] = str(BIN / command[0]) if (BIN / command[0]).exists() else need_program(command[0])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    environment = {
        **kept,
        **receiver.environment(),
        **PATIENT,
        "LANGFUSE_INTEGRATION_JOURNAL": str(journal),
        "VISITS": app,
    }
    path = os.pathsep.join([str(APPS), str(APPS.parent.parent), *(sys.path if "uwsgi" in name else [])])
    log = journal.with_name("server.log").open("w+")
    process = subprocess.Popen(
        command, cwd=APPS, env={**environment, "PYTHONPATH": path}, stdout=log, stderr=log, start_new_session=True
    )
    try:
        until(lambda: _answers(port) or process.poll() is not None, 60, name)
        assert process.poll() is None, journal.with_name("server.log").read_text()
        yield port
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
            log.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def visit(port: int, count: int, seed: int, clients: int = 4) -> Counter[tuple[str, str | None]]:
    """Send *count* requests of 50 users, every third one anonymous; return the rows to expect, by name and session."""
    sent: Counter[tuple[str, str | None]] = Counter()
    failed: list[Any] = []

    def client(number: int) -> None:
        dice = random.Random(f"{seed} {number}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for each in range(count // clients):
            user = f"u{dice.randrange(50)}" if dice.random() < 0.66 else ""
            who = f"{user or 'nobody'}-{number}-{each}"
            try:
                connection.request("GET", f"/?who={who}&user={user}")
                body = connection.getresponse().read()
            except (http.client.RemoteDisconnected, ConnectionResetError):  # a kept connection was closed: once more
                connection.close()
                connection.request("GET", f"/?who={who}&user={user}")
                body = connection.getresponse().read()
            if body != b"first second":
                failed.append(body)
            sent[f"work of {who}", f"chat-of-{user}" if user else None] += 2
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    return sent


def assert_all_right(receiver: Receiver, sent: Counter[tuple[str, str | None]], timeout_s: float = 60) -> None:
    """Every request's rows came, each once, in its own session and in no other, and none is an error."""
    until(lambda: len(receiver.spans) >= sent.total(), timeout_s, "the rows")
    assert [span for span in receiver.spans if span.status == "ERROR" or span.attributes.get(LEVEL) == "ERROR"] == []
    came = Counter((span.name, span.session_id) for span in receiver.spans)
    assert came - sent == Counter()
    assert sent - came == Counter()
    assert len({span.span_id for span in receiver.spans}) == sent.total()


@pytest.mark.parametrize("app", ["plain", "plain_in_middleware"])
@pytest.mark.parametrize("name", ["gunicorn sync", "waitress"])
def test_a_reused_thread_keeps_no_session(receiver: Receiver, journal: Path, name: str, app: str) -> None:
    """With and without the middleware a stranger's request is untagged, whoever's request the thread served before."""
    with server(name, app, receiver, journal) as port:
        sent = visit(port, 40, seed=1, clients=2)
        assert_all_right(receiver, sent)


@pytest.mark.slow
@pytest.mark.parametrize("app", APPLICATIONS)
@pytest.mark.parametrize("name", WSGI_SERVERS)
def test_no_request_of_many_is_in_another_user_s_session(
    receiver: Receiver, journal: Path, name: str, app: str
) -> None:
    """Each of 300 requests, by 50 users and anonymous ones, is in its own session, on every server."""
    with server(name, app, receiver, journal) as port:
        sent = visit(port, 300, seed=2)
        assert_all_right(receiver, sent)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "app"),
    [(name, ("flask_app", "django_app")[place % 2]) for place, name in enumerate(WSGI_SERVERS)]
    + [(name, "fastapi_app_in_middleware") for name in ASGI_SERVERS],
)
def test_no_request_of_ten_thousand_is_wrong_missing_or_an_error(
    receiver: Receiver, journal: Path, name: str, app: str
) -> None:
    """Of 10,000 requests by 50 users and anonymous ones no row is in a wrong session, missing, doubled or an error."""
    with server(name, app, receiver, journal) as port:
        sent = visit(port, REQUESTS, seed=3)
        assert_all_right(receiver, sent, timeout_s=600)

"""gunicorn --preload: workers that are forked while the parent's threads record do not hang, whatever they call."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from applications import PATIENT
from hosts.serving import APPS
from peers.otlp import Receiver
from peers.ports import free_port
from peers.waiting import until

FORKS = int(os.environ.get("FORKS", "3"))
"""Workers that serve each call; each serves one request."""
CALLS = ("set_session", "trace_span", "langchain", "llamaindex", "flush")


@pytest.mark.application
@pytest.mark.timeout(3600)
def test_no_forked_worker_hangs(receiver: Receiver, journal: Path) -> None:
    """Every worker answers its one request, in which one public call runs a hundred times."""
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    log = journal.with_name("gunicorn.log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "preloaded", "--preload", "-b", f"127.0.0.1:{port}",
             "--max-requests", "1", "--workers", "2", "--timeout", "60", "--graceful-timeout", "5"],
            cwd=APPS, env={**kept, **receiver.environment(), **PATIENT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)},
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: _answers(port) or process.poll() is not None, 60, "gunicorn")
        for number in range(FORKS):
            for call in CALLS:
                assert _get(port, f"/{call}") == b"done", (number, call)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    printed = log.read_text()
    assert "WORKER TIMEOUT" not in printed, printed
    assert "Traceback" not in printed, printed


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(port: int, path: str) -> bytes:
    """Return the answer; a worker that ends takes a connection that nobody has read with it, and then once more."""
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=55)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except (http.client.RemoteDisconnected, ConnectionError):
            continue
        finally:
            connection.close()
    return b""

"""Real uvicorn servers on ports of their own: in a thread of the test, and in processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from peers.ports import free_port
from peers.waiting import until

APPS = Path(__file__).parent / "apps"


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve *app* within the block, and yield its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), 60, "uvicorn")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)


class Uvicorn:
    """A `uvicorn` process of its own, with one or more workers, serving an application of `tests/hosts/apps`."""

    def __init__(
        self, application: str, environment: Mapping[str, str], *, workers: int = 1, where: Path = APPS
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", str(self.port),
             "--workers", str(workers), "--log-level", "warning", "--timeout-graceful-shutdown", "5"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=where,
        )  # fmt: skip
        try:
            until(self._answers, 60, f"uvicorn with {application}")
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """What the server has printed so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the server as a deployment does, and wait for it."""
        if self._log.closed:
            return
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
        self.printed = self.log
        self._log.close()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"uvicorn ended:\n{self.log}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and not self._log.closed:
            error.add_note(f"uvicorn printed:\n{self.log[-4000:]}")
        self.close()

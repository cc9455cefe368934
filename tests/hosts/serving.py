"""Real uvicorn servers on ports of their own: in a thread of the test, and in processes."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from hosts.server_process import ServerProcess
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


class Uvicorn(ServerProcess):
    """A `uvicorn` process with one or more workers, serving an application of `tests/hosts/apps`."""

    name = "uvicorn"

    def __init__(
        self, application: str, environment: Mapping[str, str], *, workers: int = 1, where: Path = APPS
    ) -> None:
        super().__init__()
        place = ["--host", "127.0.0.1", "--port", str(self.port)]
        options = ["--workers", str(workers), "--log-level", "warning", "--timeout-graceful-shutdown", "5"]
        self.start([sys.executable, "-m", "uvicorn", application, *place, *options], environment, where)

    def answers(self) -> bool:
        """Return whether somebody listens on the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

"""Servers over stdio that are forked from a process which has imported everything: each starts in milliseconds.

A forked server is a process of its own with pipes of its own, as the client library makes them. Nothing of the parent's
state is used: the parent imports, and listens on a Unix socket.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

LAUNCHER = Path(__file__).with_name("stdio_launcher.py")
HEADER_BYTES = 4


@cache
def command_of(pid: int) -> tuple[str, list[str]]:
    """Return the command and the first arguments that start a server; the parent is started once for each process.

    Args:
        pid: of this process: a forked one needs a parent of its own.
    """
    folder = tempfile.mkdtemp(prefix="preforked-")
    path = str(Path(folder, "socket"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen(
        [sys.executable, "-m", "peers.preforked", path], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _parents.append(parent)
    assert parent.stdout is not None
    assert parent.stdout.readline(), f"the parent of the servers ended with {parent.wait()}"
    parent.stdout.close()
    return sys.executable, ["-I", "-S", str(LAUNCHER), path]


_parents: list[subprocess.Popen[bytes]] = []
"""Kept alive; each ends with its standard input, when this process ends."""


def main() -> None:
    """Import, listen, and fork a server for each connection."""
    from peers import mcp_tools

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen(64)
        print("ready", flush=True)
        threading.Thread(target=_end_with_input, daemon=True).start()
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _take_over(connection)
    mcp_tools.main()


def _end_with_input() -> None:
    os.read(0, 1)
    os._exit(0)


def _take_over(connection: socket.socket) -> None:
    """Become the process that the launcher stands for; end when the launcher is killed."""
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    size = int.from_bytes(data[:HEADER_BYTES], "big")
    while len(data) < HEADER_BYTES + size:
        data += connection.recv(1 << 20)
    arguments, environment = marshal.loads(data[HEADER_BYTES:])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv[1:] = arguments

    def watch() -> None:
        connection.recv(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()

"""A web server in a process of its own, whose output is kept."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from peers.ports import free_port
from peers.waiting import until


class ServerProcess:
    """A server on a port of its own; a subclass says what runs, and when it answers.

    Attributes:
        port, url: where it listens.
        printed: what it had printed when it ended.
    """

    name: str
    printed = ""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, command: Sequence[str], environment: Mapping[str, str], where: Path) -> None:
        """Run *command* in the folder *where*, and wait until it answers.

        Raises:
            RuntimeError: it ended; the message has what it printed.
            TimeoutError: it does not answer.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=where,
        )
        try:
            until(self._started, 60, self.name)
        except BaseException:
            self.close()
            raise

    def answers(self) -> bool:
        """Return whether the server takes requests."""
        raise NotImplementedError

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

    def _started(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.log}")
        return self.answers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and not self._log.closed:
            error.add_note(f"{self.name} printed:\n{self.log[-4000:]}")
        self.close()

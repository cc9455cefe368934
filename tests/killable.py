"""Processes that record and can be killed: forked from a server that has loaded everything, so that each costs little.

Nothing here imports pytest: the server of multiprocessing imports this module.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

LOADED = ("langfuse_integration.export.journal_outlet", "langfuse_integration.export.sender", "killable")


class Killable:
    """A process that executes commands, one after the other.

    Args:
        environment: environment variables of the process, besides the journal's path.
    """

    def __init__(self, journal: Path, environment: Mapping[str, str]) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(LOADED))
        self.ids: dict[str, float] = {}
        """The reported span ids, with the time (time.monotonic) when each span had ended."""
        self._mine, theirs = context.Pipe()
        settings = {**environment, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
        self.process: BaseProcess = context.Process(target=_obey, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()

    def record(self, count: int) -> None:
        """Let the process record *count* observations, and wait for its reports."""
        self._mine.send(("record", count))
        self.listen(count)

    def record_on(self) -> None:
        """Let the process record until its end, some 900 observations a second."""
        self._mine.send(("record", 1 << 60))

    def flush(self, timeout_s: float) -> tuple[int, int, int]:
        """Let the process flush; return the flush result."""
        self._mine.send(("flush", timeout_s))
        result: Any = self._mine.recv()
        return result

    def listen(self, count: int | None = None) -> None:
        """Read the reports of *count* observations, or all until the process ends."""
        received = 0
        try:
            while count is None or received < count:
                ended: list[tuple[str, float]] = self._mine.recv()
                self.ids.update(ended)
                received += len(ended)
        except (EOFError, OSError):
            pass

    def kill(self) -> float:
        """Send SIGKILL; return the time (time.monotonic)."""
        at_s = time.monotonic()
        self.process.kill()
        self.process.join()
        return at_s

    def end(self) -> None:
        """Let the process exit."""
        self._mine.send(("end", 0))
        self.process.join(60)
        assert self.process.exitcode == 0


def _obey(commands: Connection, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    from langfuse_integration import langfuse_manager
    from langfuse_integration.settings import forget

    forget()
    while True:
        command, number = commands.recv()
        if command == "end":
            return
        if command == "flush":
            commands.send(tuple(langfuse_manager.flush(number)))
            continue
        ended: list[tuple[str, float]] = []
        for recorded in range(int(number)):
            with langfuse_manager.trace_span(f"span {recorded}", input=f"question {recorded}") as span:
                span.update(output=f"answer {recorded}")
            ended.append((span.id, time.monotonic()))
            if len(ended) == 20 or recorded == number - 1:
                commands.send(ended)
                ended = []
                if number > 1_000_000:
                    time.sleep(0.02)

"""The processes of a comparison: participants, the receiver, and scripts that run alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contender import Delivery
from .environments import python_of

ROOT = Path(__file__).resolve().parent.parent
SHARED = {
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "OTEL_BSP_MAX_QUEUE_SIZE": "200000",  # at its default the floor would be fast by losing spans
    "LANGSMITH_TRACING": "false",
    "OTEL_SDK_DISABLED": "false",
}


class Stopped(Exception):
    """A process ended instead of answering; its text is the last line of its output."""


def surroundings(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a process, without inherited settings of Langfuse, OpenTelemetry and Traceloop."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_", "TRACELOOP_"))}
    return {**own, **SHARED, "PYTHONPATH": str(ROOT), **(more or {})}


class Participant:
    """One contender with one workload, ready for orders.

    Raises:
        Stopped: it cannot take part; the text says why.
    """

    def __init__(self, contender: str, workload: str, delivery: Delivery, address: str) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="benchmarks-")
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115  it lives as long as the process
        self._process = subprocess.Popen(
            [python_of(contender), "-m", "benchmarks.participant", contender, workload, delivery, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            cwd=ROOT,
            env=surroundings({"TMPDIR": self._place.name}),
        )
        self._answer()

    def measure(self, turns: int) -> dict[str, int]:
        """Return what some turns took, in nanoseconds, and how many spans they made."""
        assert self._process.stdin is not None
        print(turns, file=self._process.stdin, flush=True)
        reading: dict[str, int] = self._answer()
        return reading

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            self._stderr.seek(0)
            raise Stopped((self._stderr.read().strip().splitlines() or ["no output"])[-1])
        return json.loads(line)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._place.cleanup()


class Receiver:
    """A receiver of traces, as a `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.receiver"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=surroundings(),
        )
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def counts(self) -> dict[str, int]:
        """Return how many requests, bytes and spans have arrived."""
        with urllib.request.urlopen(f"{self.address}/counts", timeout=60) as answer:
            counts: dict[str, int] = json.load(answer)
        return counts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def alone(script: str, *arguments: object, contender: str = "ours") -> Any:
    """Run the module *script* of this package in a process of its own, and return the JSON that it printed last.

    Raises:
        Stopped: it failed; the text says why.
    """
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as place:
        ran = subprocess.run(
            [python_of(contender), "-m", f"benchmarks.{script}", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=surroundings({"TMPDIR": place}),
        )
    if ran.returncode or not ran.stdout.strip():
        raise Stopped((ran.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(ran.stdout.strip().splitlines()[-1])

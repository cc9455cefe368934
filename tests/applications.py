"""Applications that record, in processes of their own, so that they can be killed, forked and starved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fresh import FORKS_ARE_MEANT
from peers.otlp import Receiver
from peers.spans import Span

START = """
import os, sys, time
from langfuse_integration import configure, langfuse_manager

def until_kept(table, count):
    import sqlite3
    address = "file:" + os.environ["LANGFUSE_INTEGRATION_JOURNAL"] + "?mode=ro"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            journal = sqlite3.connect(address, uri=True)
            try:
                if journal.execute(f"SELECT count(*) FROM {table}").fetchone()[0] >= count:
                    return
            finally:
                journal.close()
        except sqlite3.Error:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"not {count} rows in {table}")

"""
"""The imports of every application, and a function that waits until a table of the journal has so many rows."""
FAULTS_SHOW = {"PYTHONFAULTHANDLER": "1"}
"""A process that crashes, or that `output_of` ends, says where its threads are."""
PATIENT = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "60"}
"""A busy machine needs more than the default to load what delivers."""


@contextmanager
def application(
    code: str,
    journal: Path,
    receiver: Receiver | None = None,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> Iterator[subprocess.Popen[str]]:
    """Run *code*, after the imports of START, in a process of its own; it is killed at the end of the block.

    Args:
        receiver: the Langfuse that it has keys for; None for none.
        within: a command that runs the interpreter with what follows it.
    """
    left_out = ("LANGFUSE_", "OTEL_", "PYTHONUNBUFFERED")  # unbuffered, lines of two processes run into each other
    kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    keys = receiver.environment() if receiver is not None else {}
    settings = {**PATIENT, **FORKS_ARE_MEANT, **FAULTS_SHOW, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    process = subprocess.Popen(
        [*within, sys.executable, "-c", START + textwrap.dedent(code), *map(str, arguments)],
        env={**kept, **keys, **settings, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # children of it may live, and hold its output open
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def output_of(process: subprocess.Popen[str], timeout_s: float = 180) -> tuple[str, str]:
    """Return what an application prints until it ends, on stdout and on stderr.

    Raises:
        AssertionError: it did not end in time; the message says where the threads of it and of its children were.
    """
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        printed, errors = process.communicate(timeout=60)
        raise AssertionError(f"not over after {timeout_s} s\n{printed}\n{errors}") from None


def run(
    code: str,
    journal: Path,
    receiver: Receiver | None = None,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    logged: str = "",
    code_of_exit: int = 0,
) -> str:
    """Run *code* to its end; return its standard output.

    Args:
        logged: text that its one line on stderr contains; if empty, stderr is empty.
    """
    with application(code, journal, receiver, *arguments, environment=environment) as process:
        printed, errors = output_of(process)
        whole = f"exit {process.returncode}\n{printed}\n{errors}"
        assert process.returncode == code_of_exit, whole
        assert (logged in errors and errors.count("\n") <= 1) if logged else not errors, whole
        return printed


def deliver(journal: Path, receiver: Receiver) -> str:
    """Let another process record a span and deliver the journal; return the span's id."""
    code = """
        with langfuse_manager.trace_span("next") as span:
            print(span.id)
    """
    return run(code, journal, receiver).strip()


def arrived(receiver: Receiver, name: str | None = None) -> list[Span]:
    """Return the spans that arrived, only those called *name* if given."""
    return [span for span in receiver.spans if name in (None, span.name)]


def assert_once(receiver: Receiver, ids: Iterable[str]) -> None:
    """Assert that spans of exactly these ids arrived, each once."""
    came = [span.span_id for span in receiver.spans]
    expected = set(ids)
    assert set(came) - expected == set()
    assert expected - set(came) == set()
    assert receiver.doubled() == {}

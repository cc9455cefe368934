"""Pools whose threads and processes run one function after the other: what a function sets ends with it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path

import pytest

from fresh import FORKS_ARE_MEANT
from hosts.pools import KINDS, USERS
from langfuse_integration import langfuse_manager
from langfuse_integration.hosts import job_frames
from langfuse_integration.internals import faults
from langfuse_integration.testing import RecordedSessions

SCRIPT = Path(__file__).with_name("pools.py")
QUICK = (
    "threads",
    "thread pool",
    "thread pool with a session",
    "event loop",
    "fork executor",
    "fork pool",
    "distributed actor",
    "distributed coroutines of an actor",
)
DEFAULT = multiprocessing.get_all_start_methods()[0]
INHERIT = (
    "fork executor",
    "fork pool",
    "distributed coroutines of an actor",
    *(["joblib multiprocessing", "pebble processes"] if DEFAULT == "fork" else []),
)
"""Pools whose processes or loop begin in the session of their parent. Python 3.14 forks only where it is told to."""


def run_pool(kind: str, journal: Path) -> tuple[list[list[str | None]], str]:
    """Return (session before, session after) of each function, and what was printed on stderr."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), kind],
        env={**os.environ, **FORKS_ARE_MEANT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sessions: list[list[str | None]] = json.loads(done.stdout)
    return sessions, done.stderr


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS if "chunks" not in kind],
)
def test_what_a_pool_s_function_sets_ends_with_it(kind: str, journal: Path) -> None:
    """Each function begins as its thread or process did, whatever was set by the one before it."""
    for library in ("distributed", "joblib", "pebble"):
        if kind.startswith(library):
            pytest.importorskip(library)
    sessions, errors = run_pool(kind, journal)
    first = "s-main" if kind in INHERIT else "s-thread" if kind.endswith("with a session") else None
    assert len(sessions) in (len(USERS), 2 * len(USERS))
    assert {before for before, _ in sessions} == {first}
    afters = [f"s-{user}" if user else first for user in USERS]
    assert [after for _, after in sessions] == afters * (len(sessions) // len(USERS))
    if kind.startswith("distributed"):  # on a busy machine, Dask's event loop tells of timeouts as it is closed
        errors = "".join(line for line in errors.splitlines() if "langfuse" in line)
    assert errors == ""


def test_several_items_in_one_go_are_said(journal: Path) -> None:
    """Where nobody can tell when a function ends, one warning says to use a block."""
    _, errors = run_pool("thread pool in chunks", journal)
    assert errors.count("\n") == 1
    assert "set_session was called in a function that a pool calls for several items in one go" in errors
    assert "Use `with langfuse_manager.session(...)` in the function" in errors


def test_a_fault_of_looking_never_reaches_the_application(
    sessions: RecordedSessions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a pool has changed so much that looking fails, the session is set all the same, and the fault is logged."""
    monkeypatch.setattr(faults, "strict", False)
    monkeypatch.setitem(job_frames._CHUNKS, ("mapstar", __name__), lambda variables: variables["gone"])

    def mapstar() -> str | None:
        langfuse_manager.set_session("s-ann")
        return langfuse_manager.current_session_id

    assert copy_context().run(mapstar) == "s-ann"
    [message] = caplog.messages
    assert "failed while looking for the request or job around a session" in message

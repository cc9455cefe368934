"""A real Ray, in an environment of its own: tasks and actors are in their sender's session or in none.

Ray ends its workers without notice: what they could not deliver, the next process does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from applications import PATIENT, deliver
from hosts.serving import APPS
from peers.otlp import Receiver, Span
from peers.spans import Node

pytestmark = [pytest.mark.application, pytest.mark.timeout(900)]

HOSTS = Path(__file__).parents[2] / "docs" / "hosts.md"
USERS = ("ann", "bob", "")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's sockets, whose paths must be short."""
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        yield Path(folder)


def run_ray(program: Path, receiver: Receiver, journal: Path, ray_folder: Path) -> str:
    """Run *program* to its end, and let the next process deliver what the workers left; return what was printed."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_", "RAY_"))}
    environment = {
        **kept, **receiver.environment(), **PATIENT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal),
        "RAY_TMPDIR": str(ray_folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # Ray gives way to everything else on the machine
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    deliver(journal, receiver)
    return done.stdout


def shown(span: Span) -> tuple[str, str | None, str | None, str]:
    return span.name, span.session_id, span.user_id, span.status


def test_the_documented_example_runs_on_ray(
    receiver: Receiver, journal: Path, tmp_path: Path, ray_folder: Path
) -> None:
    """A remote function and an actor of the document are in their sender's trace and session."""
    (block,) = (
        code for code in re.findall(r"```python notest\n(.*?)```", HOSTS.read_text(), re.DOTALL) if "ray" in code
    )
    program = tmp_path / "example.py"
    program.write_text(block)
    run_ray(program, receiver, journal, ray_folder)
    report, fetch, summarize = ((name, "session-123", None, "UNSET") for name in ("report", "fetch", "summarize"))
    assert receiver.trees(shown, ordered=False) == [
        (("next", None, None, "UNSET"),),
        (report, (fetch,), (summarize,), (summarize,)),
    ]


def test_no_task_of_ray_is_in_another_session_or_missing(receiver: Receiver, journal: Path, ray_folder: Path) -> None:
    """Functions, actors, threads, coroutines and generators of two users and nobody: each tree is whole and its own."""
    printed = run_ray(APPS / "ray_tasks.py", receiver, journal, ray_folder)
    assert int(printed) >= 4
    expected: list[Node] = [(("next", None, None, "UNSET"),)]
    ways = ("actor", "threads", "async", "task", "once", "stream")
    for way in ways:
        for user in USERS:
            session = f"s-{user}" if user else None
            below = [((f"{way} {number}", session, user or None, "UNSET"),) for number in range(3)]
            expected.append(((f"{way} of {user}", session, user or None, "UNSET"), *below))
            own = f"own-{user}" if user else None
            if way != "stream":
                expected += [((f"{way} sets {user}", own, user or None, "UNSET"),)] * 2
    expected += [((f"owned {number}", "own-cleo", "cleo", "UNSET"),) for number in range(2)]
    assert Counter(receiver.trees(shown, ordered=False)) == Counter(expected)

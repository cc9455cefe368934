"""Threads that inherit contexts (Python 3.14 with -X thread_inherit_context=1): pools are never their first user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "apps" / "inherited.py"
REAL = hasattr(sys.flags, "thread_inherit_context")


@pytest.mark.langchain
@pytest.mark.parametrize("inherit", [True, False])
def test_a_pool_that_a_session_started_is_nobody_s(inherit: bool, journal: Path) -> None:
    """What others run on its threads is in no session and no trace but their own; a plain thread keeps its starter's.

    The application's own variables are inherited as ever, and our threads keep nothing of who started them alive.
    """
    options = ["-X", f"thread_inherit_context={int(inherit)}"]
    done = subprocess.run(
        [sys.executable, *options, str(SCRIPT), *(["imitate"] if inherit and not REAL else [])],
        env={**os.environ, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, threads, is_gone = map(json.loads, done.stdout.splitlines())
    assert found == {
        "ann's thread": "ann below" if inherit else "None root",
        "executor": "None root",
        "pool": "None root",
        "callback": "None root",
        "loop in executor": "None root",
        "chain in executor": "None root",
        "own variable": "ann's" if inherit else "nothing",
        "bob's submit": "None root",
        "bob's bound": "bob root",
        "after eve": "None root",
        "default executor": ["None root", "None root"],
    }
    assert threads
    assert is_gone

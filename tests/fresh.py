"""Run a piece of an application in an interpreter of its own: for what a process has only one of."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from warm import LIBRARIES, WarmInterpreter

FORKS_ARE_MEANT = {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"}
"""Python 3.12 and later warn of every fork in a process with threads; delivery is a thread."""


def without_settings() -> dict[str, str]:
    """Return the environment without settings for Langfuse and OpenTelemetry, except where the journal lies."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LANGFUSE_", "OTEL_")) or key == "LANGFUSE_INTEGRATION_JOURNAL"
    }


def run_fresh(
    code: str,
    environment: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    timeout_s: float = 180,
    returncode: int = 0,
) -> str:
    """Run *code* and return its standard output, followed by its stderr if there is any.

    Args:
        returncode: with which the process is to end; -9 where it kills itself.

    Raises:
        AssertionError: the process ended in another way; the message has all its output.
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**without_settings(), **FORKS_ARE_MEANT, **(environment or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == returncode, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + (f"\n[stderr]\n{done.stderr}" if done.stderr.strip() else "")


def run_warm(
    code: str,
    environment: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    timeout_s: float = 180,
    returncode: int = 0,
) -> str:
    """Run *code* like `run_fresh`, in a process whose libraries are loaded: for code that loads the SDK or a framework.

    Not for code that starts processes which write after its end, nor for variables that Python reads at its start.
    """
    settings = {**without_settings(), **(environment or {})}
    return _with_libraries().run(code, cwd, settings, timeout_s=timeout_s, returncode=returncode)


@cache
def _with_libraries() -> WarmInterpreter:
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(WarmInterpreter(LIBRARIES))
        atexit.register(stack.pop_all().close)
    return started

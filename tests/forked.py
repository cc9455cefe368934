"""The command line in a process of its own that does not have to import everything first: one that waits forks."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOADED = (
    "langfuse_integration.reading.archive",
    "langfuse_integration.cli.app",
    "langfuse_integration.cli.table",
    "langfuse_integration.cli.replaying",
    "langfuse_integration.cli.tree",
    "langfuse_integration.export.push",
    "langfuse_integration.diagnosis",
    "langfuse_integration.journal.pruning",
    "langfuse_integration.export.worker",
    "genai_prices",
    "pydantic.fields",
    "rich.progress",
    "typer.rich_utils",
    "typer._adapters",
    "typer._click.decorators",
)
"""Typer loads its private parts with the first command; a release without them starts more slowly, and works."""
NOT_SETTLED_LATER = ("PYTHON", "LC_", "LANG", "PATH")
"""Beginnings of variables that Python or the shell reads at its start: a process that runs already is too late."""


def can_be_forked(changes: Mapping[str, str]) -> bool:
    """Return whether a process that runs already may take these changes of the environment."""
    return not any(name.startswith(NOT_SETTLED_LATER) and not name.startswith("LANGFUSE") for name in changes)


def run(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run `lfi` with these arguments to its end, its output in files.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = context.Process(target=_main, args=(list(command), dict(environment), str(out), str(err)))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(command), timeout_s)
        outputs = [path.read_text("utf-8") if path.exists() else "" for path in (out, err)]
        return subprocess.CompletedProcess(list(command), process.exitcode, *outputs)


def _main(command: list[str], environment: dict[str, str], out: str, err: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = command
    from langfuse_integration.cli import main

    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

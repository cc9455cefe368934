"""Other platforms, simulated: without what Windows lacks, everything is imported, recorded and read back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fresh import run_fresh

EVERYTHING = """
    import importlib, os, pkgutil, signal, socket, sys

    CORE = "langfuse_integration"
    PACKAGES = (CORE, *(f"{CORE}_{adapter}" for adapter in ("langchain", "llamaindex", "mcp")))

    def import_all():
        # Only what is installed: some hosts need packages that hold others back.
        modules = {}
        for package in PACKAGES:
            path = importlib.import_module(package).__path__
            for name in (package, *(one.name for one in pkgutil.walk_packages(path, package + "."))):
                try:
                    modules[name] = importlib.import_module(name)
                except ImportError as error:
                    if (error.name or "").startswith(PACKAGES) or error.name == "fcntl":
                        raise
        return modules

    before = import_all()  # loads the packages of others as they are on this machine
    for name in before:
        del sys.modules[name]
    sys.modules["fcntl"] = None
    for module, names in (
        (os, ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getppid", "fchmod", "WNOHANG")),
        (signal, ("SIGHUP", "SIGQUIT", "SIGKILL", "SIGALRM", "pthread_sigmask", "setitimer")),
        (socket, ("AF_UNIX",)),
    ):
        for name in names:
            vars(module).pop(name, None)
    os.supports_fd.clear()
    sys.platform = "win32"
    after = import_all()
    assert set(after) == set(before), set(before) ^ set(after)
    assert all(after[name] is not before[name] for name in before)
    from langfuse_integration import langfuse_manager

    with langfuse_manager.session("s-1", "ada"), langfuse_manager.trace_span("question", input="Hay?"):
        langfuse_manager.trace_agent_step("think", "Hay?", "Yes.")
    assert langfuse_manager.flush(30).lost == 0
    print(len(after))
"""


@pytest.mark.application
def test_everything_works_without_what_windows_lacks(tmp_path: Path) -> None:
    """No fcntl, fork, signal or user of POSIX is needed to import any module, and to record and journal a session."""
    journal = tmp_path / "journal.sqlite3"
    modules = run_fresh(EVERYTHING, {"LANGFUSE_INTEGRATION_JOURNAL": str(journal)}, cwd=tmp_path)
    assert int(modules) > 150
    with sqlite3.connect(journal) as db:
        rows = db.execute("SELECT session_id, name FROM spans ORDER BY id").fetchall()
    db.close()
    assert rows == [("s-1", "think"), ("s-1", "question")]

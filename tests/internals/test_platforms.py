"""Other platforms, simulated: what Windows and macOS lack, and what they do in another way than Linux."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fresh import run_fresh
from langfuse_integration import configure
from langfuse_integration.diagnosis.file import private
from langfuse_integration.diagnosis.installation import Installation
from langfuse_integration.journal import timeline
from langfuse_integration.journal.liveness import Liveness
from langfuse_integration.journal.schema import connect

IMPORTS = """
    import builtins, importlib, os, pkgutil, select, signal, socket, sys, time, types

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
"""
WINDOWS = """
    sys.modules["fcntl"] = None
    for module, names in (
        (os, ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "fchmod", "WNOHANG")),
        (signal, ("SIGHUP", "SIGQUIT", "SIGKILL", "SIGALRM", "pthread_sigmask", "setitimer")),
        (socket, ("AF_UNIX",)),
        (time, ("clock_gettime", "clock_gettime_ns", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC")),
    ):
        for name in names:
            vars(module).pop(name, None)
    os.supports_fd.clear()
    sys.platform = "win32"
"""
MACOS = """
    import fcntl

    for module, names in (
        (os, ("sched_getaffinity", "pidfd_open", "memfd_create", "eventfd", "getrandom", "O_TMPFILE", "posix_fadvise")),
        (signal, ("SIGRTMIN", "SIGRTMAX", "sigtimedwait", "sigwaitinfo", "pidfd_send_signal")),
        (select, ("epoll",)),
        (time, ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW", "CLOCK_TAI")),
    ):
        for name in names:
            vars(module).pop(name, None)
    # Only a lock and a sync are used of it, which take no argument.
    fcntl.F_FULLFSYNC = fcntl.F_GETFD
    opened = builtins.open

    def without_proc(file, *arguments, **options):
        assert not str(file).startswith("/proc"), file
        return opened(file, *arguments, **options)

    builtins.open = without_proc
    for name in [name for name in sys.modules if name.startswith("platformdirs")]:
        del sys.modules[name]
    sys.platform = "darwin"
    os.uname = lambda: types.SimpleNamespace(sysname="Darwin")
"""
RECORDED = """
    after = import_all()
    assert set(after) == set(before), set(before) ^ set(after)
    assert all(after[name] is not before[name] for name in before)
    from typer.testing import CliRunner

    from langfuse_integration import configure, langfuse_manager
    from langfuse_integration.cli import app

    configure(durability="fsync")
    with langfuse_manager.session("s-1", "ada"), langfuse_manager.trace_span("question", input="Hay?"):
        langfuse_manager.trace_agent_step("think", "Hay?", "Yes.")
    assert langfuse_manager.flush(30).lost == 0
    shown = CliRunner().invoke(app.app, ["show", "s-1"])
    assert "think" in shown.output, (shown.output, shown.exception)
    checked = CliRunner().invoke(app.app, ["doctor"])
    assert not isinstance(checked.exception, Exception), checked.exception
    print(len(after))
"""


@pytest.mark.application
def test_everything_works_without_what_windows_lacks(tmp_path: Path) -> None:
    """No fcntl, fork, signal or user of POSIX is needed to import any module, to record a session, and to read it."""
    journal = tmp_path / "journal.sqlite3"
    modules = run_fresh(IMPORTS + WINDOWS + RECORDED, {"LANGFUSE_INTEGRATION_JOURNAL": str(journal)}, cwd=tmp_path)
    assert int(modules) > 150
    assert _rows(journal) == [("s-1", "think"), ("s-1", "question")]


@pytest.mark.application
def test_everything_works_without_what_macos_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, epoll or clock of Linux is needed for the same, and the journal is in the user's Library."""
    monkeypatch.delenv("LANGFUSE_INTEGRATION_JOURNAL")
    modules = run_fresh(IMPORTS + MACOS + RECORDED, {"HOME": str(tmp_path), "XDG_DATA_HOME": ""}, cwd=tmp_path)
    assert int(modules) > 150
    folder = tmp_path / "Library" / "Application Support" / "langfuse-integration"
    assert _rows(folder / "journal.sqlite3") == [("s-1", "think"), ("s-1", "question")]


def _rows(journal: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(journal) as db:
        rows = db.execute("SELECT session_id, name FROM spans ORDER BY id").fetchall()
    db.close()
    return rows


@pytest.mark.parametrize("refused", [False, True], ids=["", "refused"])
def test_durable_directories_reach_the_drive_on_macos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """F_FULLFSYNC is called for the folder of each new directory; fsync where the file system does not know it."""
    calls: list[tuple[str, int]] = []

    def fcntl_(descriptor: int, command: int) -> None:
        calls.append(("F_FULLFSYNC", os.fstat(descriptor).st_ino))
        assert command == 51
        if refused:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", fcntl_)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(("fsync", os.fstat(descriptor).st_ino)))
    connect(tmp_path / "one" / "two" / "journal.sqlite3", fsync=True).close()
    folders = [folder.stat().st_ino for folder in (tmp_path / "one", tmp_path)]
    names = ("F_FULLFSYNC", "fsync") if refused else ("F_FULLFSYNC",)
    assert calls == [(name, folder) for folder in folders for name in names]


@pytest.mark.parametrize(("durability", "set_to"), [("fsync", (2, 1, 1)), ("normal", (1, 0, 0))])
def test_sqlite_waits_for_the_drive_on_macos(tmp_path: Path, durability: str, set_to: tuple[int, ...]) -> None:
    """With durability `fsync`, and only then, transactions and checkpoints use F_FULLFSYNC where the system has it."""
    db = connect(tmp_path / "journal.sqlite3", fsync=durability == "fsync")
    try:
        pragmas = ("synchronous", "fullfsync", "checkpoint_fullfsync")
        assert tuple(db.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas) == set_to
    finally:
        db.close()


def test_lock_files_are_written_as_bytes_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock files are opened with O_BINARY, without which Windows changes each span id that has the byte 10."""
    flags: list[int] = []
    opened = os.open

    def noted(file: str | Path, flag: int, mode: int = 0o777) -> int:
        flags.append(flag)
        return opened(file, flag & ~0x8000, mode)

    monkeypatch.setattr(os, "O_BINARY", 0x8000, raising=False)
    monkeypatch.setattr(os, "open", noted)
    liveness = Liveness(tmp_path / "journal.sqlite3")
    liveness.lock(1)
    try:
        liveness.list_ended(1, ["0a0d0a0d0a0d0a1a"])
        assert liveness.ended(1) == {"0a0d0a0d0a0d0a1a"}
    finally:
        liveness.unlock(1)
    assert [flag & 0x8000 for flag in flags] == [0x8000]


def test_a_clock_that_counts_through_sleep_is_used_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passed for old rows is told by CLOCK_MONOTONIC on macOS, by CLOCK_BOOTTIME on Linux, by none elsewhere."""
    assert timeline._clock_through_sleep() == time.CLOCK_BOOTTIME
    monkeypatch.setattr(sys, "platform", "darwin")
    assert timeline._clock_through_sleep() == time.CLOCK_MONOTONIC
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert timeline._clock_through_sleep() is None


def test_a_command_for_a_folder_with_a_space_can_be_pasted(tmp_path: Path) -> None:
    """The command that closes a journal to others quotes its path: on macOS it holds `Application Support`."""
    journal = tmp_path / "Application Support" / "journal.sqlite3"
    connect(journal).close()
    journal.chmod(0o644)
    configure(journal=str(journal))
    [finding] = private(Installation())
    assert finding.cure == f"chmod 600 '{journal}'"
    subprocess.run(["sh", "-c", finding.cure], check=True)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


PROXIES = """
    import os, sys, urllib.request
    from langfuse_integration.export.proxies import proxy_of

    sys.platform = "darwin"
    urllib.request.getproxies = lambda: {"https": "http://system:1"} if os.getpid() == parent else os.abort()
    urllib.request.proxy_bypass = lambda host: False if os.getpid() == parent else os.abort()
    parent = os.getpid()
    assert proxy_of("https", "langfuse.example") == "http://system:1"
    child = os.fork()
    if not child:
        found = [proxy_of("https", host) for host in ("langfuse.example", "internal.example")]
        os._exit(found != ["http://proxy:3128", None])
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_on_macos_does_not_ask_the_system_for_proxies(tmp_path: Path) -> None:
    """A forked child takes proxies from the environment: the libraries that know the system's crash there."""
    environment = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "internal.example"}
    assert run_fresh(PROXIES, environment, cwd=tmp_path).strip() == "0"

"""A journal that others have locked: who waits keeps nobody else waiting."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from applications import application, output_of
from journal.sample_rows import rows_of
from langfuse_integration.journal import contention, schema
from langfuse_integration.journal import journal as journal_module
from langfuse_integration.journal.journal import Journal

NOWHERE = "http://127.0.0.1:9"
"""An address where nobody listens."""


@contextmanager
def held(path: Path, mode: str) -> Iterator[None]:
    """Hold the file's lock: for writing, or for everything."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA locking_mode={mode}")
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM spans WHERE id = -1")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_who_waits_for_the_file_keeps_no_thread_of_its_own_waiting(tmp_path: Path) -> None:
    """While the worker waits for another process's transaction, the sender reads its rows."""
    journal = Journal(tmp_path / "journal.sqlite3")
    row = next(iter(rows_of(1)))
    with ThreadPoolExecutor(1) as worker:
        with held(tmp_path / "journal.sqlite3", "NORMAL"):
            written = worker.submit(journal.append, 7, [row])
            for _ in range(100):
                assert journal.pending(7) == 0
            assert not written.done()
        written.result(60)
    assert journal.pending(7) == 1
    journal.close()


def test_a_reader_waits_while_another_process_has_the_whole_file(tmp_path: Path) -> None:
    """A file that is locked for readers, too, as at the end of a process, is read as soon as it can be."""
    journal = Journal(tmp_path / "journal.sqlite3")
    journal.close()
    with ThreadPoolExecutor(1) as sender:
        with held(tmp_path / "journal.sqlite3", "EXCLUSIVE"):
            found = sender.submit(journal.pending)
        assert found.result(60) == 0
    journal.close()


LOCKED = """
import subprocess
hold = '''
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
'''
def record(name):
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span(name):
        pass

record("before")
langfuse_manager.flush(60)
command = [sys.executable, "-c", hold, os.environ["LANGFUSE_INTEGRATION_JOURNAL"]]
holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert holder.stdout.readline() == b"held\\n"
for number in range(7):
    record(f"row {number}")
if sys.argv[1] == "exit":
    os._exit(0)
"""


@pytest.mark.parametrize("end", ["return", pytest.param("exit", marks=pytest.mark.slow)])
@pytest.mark.parametrize("keys", [pytest.param("keys", marks=pytest.mark.slow), "local"])
def test_rows_lost_at_the_end_of_a_process_are_counted(journal: Path, end: str, keys: str) -> None:
    """While another process holds the file locked, the end of a process says how many rows are lost, and the cure."""
    nowhere = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1", "LANGFUSE_BASE_URL": NOWHERE}
    environment = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "2", **(nowhere if keys == "keys" else {})}
    with application(LOCKED, journal, None, end, environment=environment) as process:
        _, errors = output_of(process)
        assert process.returncode == 0, errors
    said = [line for line in errors.splitlines() if "does not accept observations" not in line]
    cure = "Find the process that holds it locked, or set LANGFUSE_INTEGRATION_JOURNAL to another file"
    assert said == [
        f"The journal {journal} cannot be used (database is locked): observations are kept in memory until it can. "
        + cure,
        f"7 observations were in memory only, and are lost: the journal {journal} is locked. {cure}",
    ]
    kept = Journal(journal)
    assert kept.query("SELECT name FROM spans") == [("before",)]
    kept.close()


def test_a_lock_that_nobody_gives_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others hold the file and commit nothing, the wait ends, and nothing is written."""
    monkeypatch.setattr(contention, "STANDSTILL_S", 0.05)
    journal = Journal(tmp_path / "journal.sqlite3")
    with held(tmp_path / "journal.sqlite3", "NORMAL"), pytest.raises(sqlite3.OperationalError, match="locked"):
        journal.append(7, list(rows_of(1))[:1])
    assert journal.pending() == 0
    journal.append(7, list(rows_of(1))[:1])
    assert journal.pending() == 1
    journal.close()


@pytest.mark.parametrize(("errors", "opens"), [(3, True), (100, False)])
def test_a_file_that_cannot_be_read_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: int, opens: bool
) -> None:
    """An I/O error as the file is opened is tried again a few times; one that stays is raised."""
    tried: list[Path | None] = []

    def connect(path: Path | None, *, fsync: bool = False) -> sqlite3.Connection:
        tried.append(path)
        if len(tried) <= errors:
            raise sqlite3.OperationalError("disk I/O error")
        return schema.connect(path, fsync=fsync)

    monkeypatch.setattr(journal_module, "connect", connect)
    if opens:
        Journal(tmp_path / "journal.sqlite3").close()
        assert len(tried) == errors + 1
    else:
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            Journal(tmp_path / "journal.sqlite3")
        assert len(tried) < 10

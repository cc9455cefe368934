"""SQLite's locks on a journal hold as long as this process has it open, whatever else opens the file here.

A process loses its record locks on a file with any descriptor of the file that it closes, and a forked child has none.
Another process then removes the write-ahead log as it closes the file, and with it the rows of those that are left.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from journal.sample_rows import rows_of
from journal.test_chains import assert_sound, opened, read_back
from langfuse_integration.diagnosis.file import whole
from langfuse_integration.diagnosis.installation import Installation
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.pruning import Pruning
from langfuse_integration.reading.database import JournalFile

COUNT = "SELECT count(*) FROM spans"
OTHER = f"""
import sys
from pathlib import Path
from langfuse_integration.journal.journal import Journal

journal = Journal(Path(sys.argv[1]))
print(journal.query({COUNT!r})[0][0])
journal.close()
"""


def seen_by_another(path: Path) -> int:
    """How many rows another process finds, which closes the file again."""
    printed = subprocess.run([sys.executable, "-c", OTHER, str(path)], stdout=subprocess.PIPE, check=True, text=True)
    return int(printed.stdout)


def journal_again(path: Path) -> None:
    """Open and close the journal."""
    again = Journal(path)
    assert again.query(COUNT) == [(5,)]
    again.close()


def journal_through_a_link(path: Path) -> None:
    """Open and close the journal by the name of a symbolic link."""
    link = path.with_name("link.sqlite3")
    link.symlink_to(path)
    journal_again(link)


def read(path: Path) -> None:
    """Open and close the file for reading."""
    with JournalFile(path) as file:
        assert file.query(COUNT) == [(5,)]


def pruned(path: Path) -> None:
    """Open and close the file as `prune` and `forget` do."""
    with Pruning(path):
        pass


def checked(path: Path) -> None:
    """Check the file as `doctor` does."""
    with JournalFile(path) as file:
        installation = Installation()
        installation.rows = file
        assert list(whole(installation)) == []


@pytest.mark.parametrize("opened", [journal_again, journal_through_a_link, read, pruned, checked])
def test_the_locks_survive_whoever_opens_the_file_too(tmp_path: Path, opened: Callable[[Path], None]) -> None:
    """After it another process closes the file: it does not take itself for the last one, and no row is lost."""
    path = tmp_path / "journal.sqlite3"
    rows = list(islice(rows_of(1), 10))
    journal = Journal(path)
    journal.append(1, rows[:5])
    opened(path)
    assert seen_by_another(path) == 5
    assert path.with_name("journal.sqlite3-wal").exists()
    journal.append(1, rows[5:])
    assert seen_by_another(path) == 10
    journal.close()
    assert seen_by_another(path) == 10


@pytest.mark.parametrize("link", [False, True])
def test_a_log_that_another_process_has_removed_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, link: bool
) -> None:
    """Where code of the application has opened and closed the file itself, the next rows are not written to nowhere."""
    path = tmp_path / "journal.sqlite3"
    if link:
        (tmp_path / "link.sqlite3").symlink_to(path)
        path = tmp_path / "link.sqlite3"
    rows = list(islice(rows_of(1), 40))
    journal = Journal(path)
    for start in range(0, 40, 10):
        journal.append(1, rows[start : start + 5])
        assert path.read_bytes()
        assert seen_by_another(path) == start + 5
        assert not (tmp_path / "journal.sqlite3-wal").exists()
        journal.append(1, rows[start + 5 : start + 10])
        assert seen_by_another(path) == start + 10
    assert caplog.text.count("SQLite's locks on it were lost") == 1
    journal.close()
    with opened(path) as again:
        assert_sound(again)
        assert read_back(again) == {row.span_id: row.body for row in rows}


def test_a_file_opened_at_once_by_threads_that_create_it(tmp_path: Path) -> None:
    """Whoever creates the file closes its descriptor before anybody has the journal open."""
    rows = list(islice(rows_of(1), 16))
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            path = tmp_path / f"{number}.sqlite3"
            journals = list(pool.map(Journal, [path] * 8))
            if number == 0:
                assert seen_by_another(path) == 0
            assert path.with_name(f"{path.name}-wal").exists()
            for place, journal in enumerate(journals):
                journal.append(1, rows[2 * place : 2 * place + 2])
            for journal in journals[1:]:
                journal.close()
            assert path.stat().st_mode & 0o777 == 0o600
            journals[0].close()
            if number == 0:
                assert seen_by_another(path) == 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("reads", [True, False])
def test_a_child_forked_while_this_process_reads_the_file_has_locks_of_its_own(tmp_path: Path, reads: bool) -> None:
    """What the child writes after another process has closed the file is there; the parent reads on."""
    path = tmp_path / "journal.sqlite3"
    rows = list(islice(rows_of(1), 10))
    journal = Journal(path)
    journal.append(1, rows[:2])
    file = JournalFile(path)
    before = file.version
    assert file.query(COUNT) == [(2,)]
    said, saying = os.pipe()
    waiting, go_on = os.pipe()
    child = os.fork()
    if not child:
        try:
            if reads:
                assert file.query(COUNT) == [(2,)]
            written = Journal(path)
            written.append(2, rows[2:4])
            os.write(saying, b".")
            os.read(waiting, 1)
            written.append(2, rows[4:8])
            written.close()
            os._exit(0)
        finally:
            os._exit(1)
    os.read(said, 1)
    journal.close()
    assert file.query(COUNT) == [(4,)]
    assert file.version != before
    file.close()
    assert seen_by_another(path) == 4
    os.write(go_on, b".")
    assert os.waitpid(child, 0)[1] == 0
    assert seen_by_another(path) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_fork_within_a_query_lets_the_query_go_on(tmp_path: Path) -> None:
    """The file stays open then, and the child keeps its rows in memory rather than trust locks that it lacks."""
    path = tmp_path / "journal.sqlite3"
    journal = Journal(path)
    journal.append(1, list(islice(rows_of(1), 10)))
    journal.close()
    with JournalFile(path) as file:
        found = file.stream("SELECT span_id FROM spans ORDER BY id")
        first = next(found)
        child = os.fork()
        if not child:
            try:
                Journal(path)
            except OSError as error:
                os._exit(0 if "busy with the journal" in str(error) else 2)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert [first, *found] == file.query("SELECT span_id FROM spans ORDER BY id")

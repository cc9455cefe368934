"""LANGFUSE_INTEGRATION_DURABILITY: what is still in the journal after the power was cut."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from applications import application, deliver
from commands import COMMAND
from peers.otlp import Receiver
from power_cut import PowerCut

pytestmark = pytest.mark.application

RECORDING = """
import itertools

langfuse_manager.set_session("session")
history = []
with langfuse_manager.trace_span("open", as_type="agent"):
    for number in itertools.count():
        history.append({"role": "user", "content": f"question {number} " + "x" * 700})
        with langfuse_manager.trace_span(f"row {number}", input=history[-20:]) as row:
            row.update(output=f"answer {number}" + "y" * (number * 97 % 9_000))
        if number % 7 == 0:
            row.score("good", 1.0)
            langfuse_manager.flush(60)
            print(number, flush=True)
"""
"""Prints a number whenever the rows up to it are in the journal, or at Langfuse."""
JOURNAL = Path("new", "directories", "journal.sqlite3")


def record_until_cut(disk: PowerCut, reports: int, durability: str, receiver: Receiver | None = None) -> int:
    """Let a process record, and kill it after so many reports; return how many rows it had reported then."""
    environment = {**disk.environment, "LANGFUSE_INTEGRATION_DURABILITY": durability}
    with application(RECORDING, disk.root / JOURNAL, receiver, environment=environment) as process:
        assert process.stdout is not None
        numbers = [process.stdout.readline() for _ in range(reports)]
        process.kill()
        numbers += process.stdout.readlines()
    return int([number for number in numbers if number.endswith("\n")][-1]) + 1


def push(journal: Path, receiver: Receiver) -> None:
    """Deliver what was recorded without keys."""
    environment = {**os.environ, **receiver.environment(), "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    done = subprocess.run([*COMMAND, "push"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def whole_rows(receiver: Receiver) -> set[int]:
    """Return the numbers of the rows that came; each is whole, and the only error is what was open."""
    numbers = set()
    for span in receiver.spans:
        if span.name.startswith("row "):
            number = int(span.name.removeprefix("row "))
            assert span.input[-1]["content"] == f"question {number} " + "x" * 700
            assert span.output == f"answer {number}" + "y" * (number * 97 % 9_000)
            assert (span.session_id, span.status) == ("session", "UNSET")
            numbers.add(number)
        else:
            assert (span.name, span.status) in {("open", "ERROR"), ("next", "UNSET")}
    return numbers


def assert_sound(journal: Path) -> None:
    """Assert that SQLite finds no fault in the journal, and that it was not set aside."""
    with closing(sqlite3.connect(journal)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert [path for path in journal.parent.iterdir() if "damaged" in path.name] == []


@pytest.mark.parametrize("reports", [1, 30])
def test_with_fsync_rows_survive_a_disk_that_loses_what_was_not_synchronised(
    tmp_path: Path, receiver: Receiver, reports: int
) -> None:
    """All rows that were in the journal are there and whole, in a directory that was new, from the first row on."""
    disk = PowerCut(tmp_path / "disk")
    count = record_until_cut(disk, reports, "fsync")
    journal = disk.synchronised() / JOURNAL
    push(journal, receiver)
    assert set(range(count)) <= whole_rows(receiver)
    assert [span.name for span in receiver.spans if span.status == "ERROR"] == ["open"]
    assert_sound(journal)


@pytest.mark.parametrize("seed", range(2))
def test_with_fsync_rows_survive_a_disk_that_wrote_some_sectors_only(
    tmp_path: Path, receiver: Receiver, seed: int
) -> None:
    """All rows that were in the journal are there and whole, whatever else the disk had written before the cut."""
    disk = PowerCut(tmp_path / "disk")
    count = record_until_cut(disk, 5 + 30 * seed, "fsync")
    journal = disk.partly_written(random.Random(seed)) / JOURNAL
    push(journal, receiver)
    assert set(range(count)) <= whole_rows(receiver)
    assert_sound(journal)


def test_with_fsync_nothing_is_lost_between_the_journal_and_langfuse(tmp_path: Path, receiver: Receiver) -> None:
    """What Langfuse had accepted and what is on the disk after the cut are all rows together."""
    disk = PowerCut(tmp_path / "disk")
    count = record_until_cut(disk, 10, "fsync", receiver)
    journal = disk.synchronised() / JOURNAL
    deliver(journal, receiver)
    assert set(range(count)) <= whole_rows(receiver)
    assert_sound(journal)


def test_without_fsync_a_power_cut_loses_rows(tmp_path: Path, receiver: Receiver) -> None:
    """The disk of these tests does lose what was not synchronised: `normal` is for ends of processes only."""
    disk = PowerCut(tmp_path / "disk")
    count = record_until_cut(disk, 5, "normal")
    assert count >= 29
    assert not (disk.synchronised() / JOURNAL).exists()

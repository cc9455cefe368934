"""Random histories of several processes on one journal, which are killed while they write and remove."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from journal import killed
from journal.sample_rows import ROWS_OF_A_SEED, rows_of
from journal.test_chains import assert_sound, opened, read_back
from langfuse_integration.diagnosis.file import whole
from langfuse_integration.diagnosis.installation import Installation
from langfuse_integration.reading.database import JournalFile

WAIT_S = 120.0
MOST_ROWS = 40
"""A process is killed after so many rows at most; it writes on until the kill arrives."""


class Killed:
    """A process that writes the histories of one seed, until it is killed.

    Args:
        removes: whether it also removes rows, its own and those of others.
    """

    def __init__(self, path: Path, seed: int, *, removes: bool) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["journal.killed"])
        self._reports = path.with_name(f"reports-{seed}")
        self._process: BaseProcess = context.Process(
            target=killed.work, args=(path, seed, self._reports, removes), daemon=True
        )
        self._process.start()

    def kill(self, after: int) -> None:
        """Kill it once it has committed *after* rows."""
        deadline = time.monotonic() + WAIT_S
        while len(self.committed()) < after:
            assert self._process.is_alive(), "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        self._process.kill()
        self._process.join(WAIT_S)

    def committed(self) -> list[str]:
        """The span ids of the rows that it has reported."""
        text = self._reports.read_text() if self._reports.exists() else ""
        return text[: text.rfind("\n") + 1].split()


def recorded(span_ids: set[str]) -> dict[str, bytes]:
    """The rows with these span ids as they were recorded: the seeds tell them."""
    last: dict[int, int] = {}
    for span_id in span_ids:
        seed, place = divmod(int(span_id, 16) - 1, ROWS_OF_A_SEED)
        last[seed] = max(last.get(seed, 0), place)
    rows = (row for seed, most in last.items() for row, _ in zip(rows_of(seed), range(most + 1), strict=False))
    return {row.span_id: bytes(row.body) for row in rows if row.span_id in span_ids}


def test_what_is_left_after_kills_is_what_was_recorded(tmp_path: Path) -> None:
    """Two processes write and remove, two write only; after the kills rows are whole, and none is lost by a kill."""
    _survives(tmp_path, seeds=range(1, 3), rounds=1, removes=True)
    _survives(tmp_path, seeds=range(11, 13), rounds=1, removes=False)


@pytest.mark.slow
@pytest.mark.parametrize("removes", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_after_many_kills_is_what_was_recorded(tmp_path: Path, seed: int, removes: bool) -> None:
    """Four processes at once, killed and replaced eight times: every row that is left is what was recorded."""
    _survives(tmp_path, seeds=range(100 * seed + 1, 100 * seed + 5), rounds=8, removes=removes)


def _survives(folder: Path, seeds: range, rounds: int, *, removes: bool) -> None:
    path = folder / f"{removes}.sqlite3"
    chance = random.Random(seeds.start)
    committed: set[str] = set()
    for round_ in range(rounds):
        processes = [Killed(path, seed + 10 * round_, removes=removes) for seed in seeds]
        for process in chance.sample(processes, len(processes)):
            process.kill(after=chance.randrange(1, MOST_ROWS))
        for process in processes:
            committed.update(process.committed())
        with opened(path) as journal:
            assert_sound(journal)
            left = read_back(journal)
        assert left or removes  # a process may be killed just when it has removed all rows
        assert left == recorded({*left})
        assert removes or committed <= left.keys()
        with JournalFile(path) as file:
            installation = Installation()
            installation.rows = file
            assert list(whole(installation)) == []
            assert dict(file.query("SELECT span_id, body FROM spans")) == left
    with opened(path) as journal:
        journal.query("DELETE FROM spans")
        assert journal.remove_unused(60)
        assert journal.query("SELECT count(*) FROM nodes") == [(0,)]

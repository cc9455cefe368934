"""Many threads at once: every row once, whole, below its own parent, in its own session.

On a free-threaded Python (PYTHON_GIL=0) the threads run at the same time; on others they change places as often as the
interpreter allows.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import pytest

from langfuse_integration import configure, langfuse_manager
from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.internals.free_threading import FREE_THREADED
from langfuse_integration.recording.ids import new_bits
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run, RunRegistry, RunStart
from langfuse_integration.recording.tracing import recorder
from langfuse_integration.testing import RecordedSessions

THREADS = 8
ROUNDS = 150
TURNS = 1_000


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Let threads change places as often as possible."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


def at_once(work: Callable[[int], object], threads: int = THREADS) -> None:
    """Call *work* with a number in each of several threads, all released together; raise the first error."""
    start = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def in_step(work: Callable[[int, int], object]) -> None:
    """Call *work* with a number and a turn in two threads, which begin each turn at the same moment."""
    arrived: list[list[int]] = [[] for _ in range(TURNS)]

    def run(number: int) -> None:
        for turn in range(TURNS):
            arrived[turn].append(number)
            while len(arrived[turn]) < 2:
                if not FREE_THREADED:  # else the other runs meanwhile
                    time.sleep(0)
            work(number, turn)

    at_once(run, 2)


def an_observation(name: str = "run") -> Observation:
    return Observation(name, "span", recorder, None)


def opened(registry: RunRegistry, key: Hashable, parent: Run | None = None) -> Run | None:
    start = RunStart()
    start.key, start.name = key, "run"
    row = an_observation()
    return registry.open(start, parent, row, row)


def conversations(number: int) -> None:
    """Record turns of one user, each with a step below a span."""
    for turn in range(ROUNDS):
        with (
            langfuse_manager.session(f"session-{number}", user_id=f"user-{number}"),
            langfuse_manager.trace_span(f"turn {number}.{turn}", input=[number, turn]),
        ):
            langfuse_manager.trace_agent_step("think", f"in {number}.{turn}", f"out {number}.{turn}")


def test_rows_of_many_threads_are_whole_and_in_their_own_sessions(sessions: RecordedSessions) -> None:
    """Each turn of eight users has its step, once, with its own texts; no session has a row of another user."""
    at_once(conversations)
    assert len(sessions.observations) == 2 * THREADS * ROUNDS
    assert len({row.id for row in sessions.observations}) == 2 * THREADS * ROUNDS
    recorded = {session.session_id: session for session in sessions.all}
    assert set(recorded) == {f"session-{number}" for number in range(THREADS)}
    for number in range(THREADS):
        session = recorded[f"session-{number}"]
        rows = [row for trace in session.traces for row in trace.observations]
        assert {row.user_id for row in rows} == {f"user-{number}"}
        by_id = {row.id: row for row in rows}
        steps = [row for row in rows if row.parent_id]
        assert {row.name for row in rows if not row.parent_id} == {f"turn {number}.{turn}" for turn in range(ROUNDS)}
        assert len(steps) == ROUNDS
        for step in steps:
            turn = by_id[step.parent_id or ""].name.removeprefix("turn ")
            assert (step.trace_id, step.input, step.output) == (
                by_id[step.parent_id or ""].trace_id,
                f"in {turn}",
                f"out {turn}",
            )


def test_rows_of_many_threads_are_in_the_journal_once(tmp_path: Path) -> None:
    """What eight threads record is in the journal, each row once, and counted once."""
    journal = tmp_path / "journal.sqlite3"
    configure(journal=str(journal))
    at_once(conversations)
    outcome = langfuse_manager.flush(60)
    assert outcome.lost == 0
    assert outcome.delivered + outcome.pending == 2 * THREADS * ROUNDS
    with sqlite3.connect(journal) as db:
        rows = db.execute("SELECT span_id, session_id FROM spans").fetchall()
    db.close()
    assert len({span_id for span_id, _ in rows}) == len(rows) == 2 * THREADS * ROUNDS
    assert Counter(session for _, session in rows) == {f"session-{n}": 2 * ROUNDS for n in range(THREADS)}


def test_an_observation_that_two_threads_end_is_one_row(sessions: RecordedSessions) -> None:
    """Whoever is first ends it, with that thread's output; the other changes nothing."""
    observations = [an_observation(f"ended {turn}") for turn in range(TURNS)]
    in_step(lambda number, turn: observations[turn].finish({"by": number}))
    assert Counter(row.name for row in sessions.observations) == {f"ended {turn}": 1 for turn in range(TURNS)}
    assert all(row.output["by"] in (0, 1) for row in sessions.observations)


def test_no_metadata_of_several_threads_is_lost(sessions: RecordedSessions) -> None:
    """Tools that run in parallel each add their own entries to the metadata of the row above."""
    above = an_observation("above")

    def add(number: int) -> None:
        for turn in range(ROUNDS):
            above.update(metadata={f"{number}.{turn}": turn})

    at_once(add)
    above.finish()
    assert above.metadata == {f"{number}.{turn}": turn for number in range(THREADS) for turn in range(ROUNDS)}


def test_runs_that_two_threads_open_below_one_run_are_all_known() -> None:
    """A run knows each run that was opened below it, also those that were opened at the same moment."""
    registry = RunRegistry()
    parents = [run for turn in range(TURNS) if (run := opened(registry, turn)) is not None]
    in_step(lambda number, turn: opened(registry, (number, turn), parents[turn]))
    for turn, parent in enumerate(parents):
        assert {run.key for run in parent.open_below()} == {(0, turn), (1, turn)}


def test_a_run_that_several_threads_announce_is_opened_and_ended_once() -> None:
    """One start and one end count, whichever thread comes first."""
    registry = RunRegistry()
    begun: list[int] = []
    ended: list[int] = []

    def announce(number: int) -> None:
        begun.extend(key for key in range(ROUNDS) if opened(registry, key))

    def end(number: int) -> None:
        ended.extend(key for key in range(ROUNDS) if registry.close(key) is not None)

    at_once(announce)
    at_once(end)
    assert (sorted(begun), sorted(ended)) == (list(range(ROUNDS)), list(range(ROUNDS)))
    assert len(registry) == 0


def test_runs_that_end_at_the_same_moment_are_all_remembered() -> None:
    """The places of the last that ended are known, also where two threads end runs as the older half gives way."""
    registries = [RunRegistry(ended_limit=8) for _ in range(TURNS)]
    for registry in registries:
        for key in (2, 3, 4, 5, 0, 1):
            opened(registry, key)
        for key in (2, 3, 4, 5):
            registry.close(key)
    in_step(lambda number, turn: registries[turn].close(number))
    assert [[registry.footprint(key) is None for key in (0, 1)] for registry in registries] == [[False, False]] * TURNS


def test_a_bounded_dictionary_stays_bounded_below_many_threads() -> None:
    """No thread that adds, renews or removes sees an error, and the limit holds at the end."""
    bounded: BoundedDict[tuple[int, int], int] = BoundedDict(50)

    def work(number: int) -> None:
        for turn in range(ROUNDS * 4):
            bounded[number, turn] = turn
            bounded.renew((0, turn % 10), turn)
            bounded.pop((number, turn - 3), None)

    at_once(work)
    assert 0 < len(bounded) <= 50


def test_ids_of_several_threads_are_different() -> None:
    """No two threads get the same random number."""
    numbers: list[int] = []
    at_once(lambda number: numbers.extend([new_bits(64) for _ in range(ROUNDS * 20)]))
    assert len(set(numbers)) == len(numbers) == THREADS * ROUNDS * 20

"""Processes that are killed, share a journal and are started again, in whatever order: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from killable import Killable
from langfuse_integration.reading.archive import Archive
from peers.misbehaviour import dropped, poison, status
from peers.otlp import Receiver
from peers.spans import wire_spans
from peers.waiting import until

KILLS = 1_000
BEFORE_S = 0.05
"""What had ended so long before a kill is delivered."""
BUSY_S = 0.3
"""Further time for a machine that has other things to do than to run our thread; see what the test prints."""


def received(receiver: Receiver) -> set[str]:
    """The ids of everything that came whole: with name, input and output that belong together, each time it came.

    What was open when its process was killed came with less, and never whole before or after.
    """
    found: set[str] = set()
    crashed: set[str] = set()
    for exchange in receiver.requests:
        if exchange.stored:
            for span in wire_spans(exchange.message):
                number = span.name.removeprefix("span ")
                kept = {entry.key: entry.value.string_value for entry in span.attributes}
                assert kept["langfuse.observation.input"] == f"question {number}"
                if kept.get("langfuse.observation.status_message") == "the process ended":
                    crashed.add(span.span_id.hex())
                else:
                    assert kept["langfuse.observation.output"] == f"answer {number}"
                    found.add(span.span_id.hex())
    assert crashed & found == set()
    return found


def deliver(journal: Path, receiver: Receiver) -> set[str]:
    """Let a further process deliver what is in the journal; return its own ids."""
    further = Killable(journal, {**receiver.environment(), "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "60"})
    further.record(1)
    further.end()
    return set(further.ids)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_thousand_kills_lose_nothing_that_had_ended(receiver: Receiver, journal: Path) -> None:
    """kill -9 at random moments from the first row on, three processes at a time: what had ended is delivered."""
    chance = random.Random(4)
    ages: list[tuple[str, float]] = []
    guard = threading.Lock()

    def kill_some(count: int, seed: int) -> None:
        own = random.Random(seed)
        for _ in range(count):
            one = Killable(journal, receiver.environment())
            one.record_on()
            listening = threading.Thread(target=one.listen)
            listening.start()
            until(lambda: bool(one.ids))  # noqa: B023
            time.sleep(own.uniform(0.0, 1.2))
            killed_s = one.kill()
            listening.join()
            with guard:
                ages.extend((identity, killed_s - ended_s) for identity, ended_s in one.ids.items())

    threads = [threading.Thread(target=kill_some, args=(found, chance.random())) for found in (334, 333, 333)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {identity for identity, age_s in ages if age_s >= BEFORE_S + BUSY_S}
    deliver(journal, receiver)
    came = received(receiver)
    lost_s = sorted(age_s for identity, age_s in ages if identity not in came)
    late = sum(age_s >= BEFORE_S for age_s in lost_s)
    print(
        f"\n{KILLS} kills, {len(ages)} observations, {len(lost_s)} lost; the oldest of them had "
        f"ended {lost_s[-1:]} s before, {late} more than {BEFORE_S} s; {len(receiver.doubled())} were sent again whole"
    )
    assert len(wanted) > 5_000
    assert wanted - came == set()


RECORDING = """
import os, time
from langfuse_integration import langfuse_manager

while True:
    with langfuse_manager.trace_span("row") as row:
        pass
    os.write(1, f"{row.id} {time.monotonic()}\\n".encode())
    time.sleep(0.002)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_in_the_first_second_of_a_process_lose_nothing_that_had_ended(tmp_path: Path) -> None:
    """Of a process that has loaded nothing ahead, all that ended before the kill is in the journal, and no error."""
    chance = random.Random(5)
    lost_s: list[float] = []
    for number in range(150):
        journal = tmp_path / f"{number}.sqlite3"
        environment = {**os.environ, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
        with subprocess.Popen(
            [sys.executable, "-c", RECORDING], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(chance.uniform(0.0, 1.0))
            process.kill()
            killed_s = time.monotonic()
            reports = (first + process.stdout.read()).splitlines(keepends=True)
        ended_s = dict(report.split() for report in reports if report.endswith("\n"))
        with Archive(journal) as archive:
            rows = dict(archive.query("SELECT span_id, level FROM spans"))
        assert set(rows.values()) <= {"DEFAULT"}
        lost_s += [killed_s - float(ended_s[each]) for each in ended_s if each not in rows]
    print(f"\n{len(lost_s)} lost; the oldest had ended {max(lost_s, default=0.0):.3f} s before the kill")
    assert [age_s for age_s in lost_s if age_s >= BEFORE_S + BUSY_S] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_processes_share_a_journal(receiver: Receiver, journal: Path) -> None:
    """Four at once, through an outage: 20,000 observations, nothing lost and nothing doubled."""
    some = [Killable(journal, receiver.environment()) for _ in range(4)]
    for one in some:
        one.record(1_000)
    receiver.refuse()
    threads = [threading.Thread(target=one.record, args=(3_000,)) for one in some]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receiver.listen()
    for one in some:
        one.record(1_000)
    assert [one.flush(60) for one in some] == [(5_000, 0, 0)] * 4
    for one in some:
        one.end()
    assert received(receiver) == {identity for one in some for identity in one.ids}
    assert receiver.doubled() == {}


BUSY = """
import time
from langfuse_integration import langfuse_manager

until = time.monotonic() + 5
count = 0
while time.monotonic() < until:
    with langfuse_manager.trace_span("row", input="x" * 2_000):
        pass
    count += 1
    time.sleep(0.001)
langfuse_manager.flush(60)
print(count)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_two_busy_processes_share_a_journal(journal: Path) -> None:
    """While others commit, a process waits for its turn: no row is kept in memory, and none is missing or doubled."""
    environment = {**os.environ, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    processes = [
        subprocess.Popen([sys.executable, "-c", BUSY], env=environment, stdout=-1, stderr=-1, text=True)
        for _ in range(32)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert {errors for _, errors in outputs} == {""}
    with Archive(journal) as archive:
        (counts,) = archive.query("SELECT count(*), count(DISTINCT span_id) FROM spans")
    recorded = sum(int(printed) for printed, _ in outputs)
    assert tuple(counts) == (recorded, recorded)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 1), st.integers(1, 30)),
        st.tuples(st.just("flush"), st.integers(0, 1), st.just(0)),
        st.tuples(
            st.sampled_from(["refuse", "listen", "503", "413", "401", "dropped", "poison", "well"]),
            st.just(0),
            st.just(0),
        ),
        st.tuples(st.sampled_from(["end", "kill"]), st.integers(0, 1), st.just(0)),
    ),
    min_size=3,
    max_size=14,
)
BEHAVIOURS = {
    "503": status(503),
    "413": status(413),
    "401": status(401),
    "dropped": dropped(),
    "poison": poison("span 7"),
}


class Processes:
    """Applications on one journal, and what each step does to them or to the server.

    Attributes:
        flushed: ids of spans that have to arrive.
    """

    def __init__(self, journal: Path, environment: dict[str, str], receiver: Receiver) -> None:
        self._journal, self._environment, self._receiver = journal, environment, receiver
        self._living: dict[int, Killable] = {}
        self.all: list[Killable] = []
        self.flushed: set[str] = set()
        self.killed = False

    def step(self, what: str, who: int, count: int) -> None:
        """Run one step."""
        if what in ("refuse", "listen"):
            getattr(self._receiver, what)()
        elif what in BEHAVIOURS or what == "well":
            self._receiver.always(BEHAVIOURS.get(what))
        elif what in ("end", "kill"):
            self._stop(what, self._living.pop(who, None))
        else:
            self._use(what, who, count)

    def end_all(self) -> None:
        """End every process that lives."""
        for process in self._living.values():
            self._stop("end", process)

    def _stop(self, what: str, process: Killable | None) -> None:
        if process is None:
            return
        if what == "kill":
            self.killed = True
            process.kill()
            return
        process.end()
        self.flushed |= set(process.ids)

    def _use(self, what: str, who: int, count: int) -> None:
        if who not in self._living:
            self._living[who] = Killable(self._journal, self._environment)
            self.all.append(self._living[who])
        process = self._living[who]
        if what == "record":
            process.record(count)
        elif process.ids:
            delivered, pending, lost = process.flush(0.3)
            assert delivered + pending + lost == len(process.ids)
            self.flushed |= set(process.ids)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_any_order_of_failures_restarts_and_kills(steps: list[tuple[str, int, int]]) -> None:
    """Two processes on one journal; whatever happens in between, everything that was flushed arrives, whole."""
    with TemporaryDirectory() as folder, Receiver() as receiver:
        journal = Path(folder) / "journal.sqlite3"
        environment = {**receiver.environment(), "LANGFUSE_TIMEOUT": "1", "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.3"}
        processes = Processes(journal, environment, receiver)
        for what, who, count in steps:
            processes.step(what, who, count)
        processes.end_all()
        receiver.listen()
        receiver.always(None)
        own = deliver(journal, receiver)
        came = received(receiver)
        missing = processes.flushed - came
        assert missing == {span_id for span_id in missing if span_id in _set_aside(journal)}
        assert came <= {span_id for process in processes.all for span_id in process.ids} | own
        if not processes.killed and not any(what in ("refuse", "dropped") for what, _, _ in steps):
            assert receiver.doubled() == {}


def _set_aside(journal: Path) -> Iterator[str]:
    from langfuse_integration.journal.journal import Journal

    opened = Journal(journal)
    try:
        return iter([row[0] for row in opened.query("SELECT span_id FROM spans WHERE state = 2 AND name = 'span 7'")])
    finally:
        opened.close()

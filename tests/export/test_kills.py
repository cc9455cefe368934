"""Processes that are killed, share a journal and are started again, in whatever order: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
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
"""What the tests print: how much had ended so long before a kill, and is lost. On a machine that has other things to do
than to run our thread there is some."""


def assert_newest(lost: set[str], recorded: Sequence[str]) -> None:
    """Assert that of what a process recorded, in this order, only the newest is lost."""
    assert [identity for identity in recorded if identity in lost] == list(recorded[len(recorded) - len(lost) :])


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
def test_a_thousand_kills_lose_only_the_newest(receiver: Receiver, journal: Path) -> None:
    """kill -9 at random moments from the first row on, three processes at a time: what is not delivered ended last."""
    chance = random.Random(4)
    killed: list[tuple[Killable, float]] = []

    def kill_some(count: int, seed: float) -> None:
        own = random.Random(seed)
        for _ in range(count):
            one = Killable(journal, receiver.environment())
            one.record_on()
            listening = threading.Thread(target=one.listen)
            listening.start()
            until(lambda: bool(one.ids))  # noqa: B023
            time.sleep(own.uniform(0.0, 1.2))
            at_s = one.kill()
            listening.join()
            killed.append((one, at_s))

    counts = [KILLS // 3, KILLS // 3, KILLS - 2 * (KILLS // 3)]
    threads = [threading.Thread(target=kill_some, args=(count, chance.random())) for count in counts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(journal, receiver)
    came = received(receiver)
    lost_s = []
    for one, at_s in killed:
        lost = one.ids.keys() - came
        assert_newest(lost, list(one.ids))
        lost_s += [at_s - one.ids[identity] for identity in lost]
    late = sum(age_s >= BEFORE_S for age_s in lost_s)
    print(
        f"\n{KILLS} kills, {sum(len(one.ids) for one, _ in killed)} observations, {len(lost_s)} lost; the oldest "
        f"of them had ended {max(lost_s, default=0.0):.3f} s before, {late} more than {BEFORE_S} s; "
        f"{len(receiver.doubled())} were sent again whole"
    )
    assert len(killed) == KILLS
    assert len(came) > 5_000


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

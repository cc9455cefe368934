"""Processes that work for several users and are killed at any moment, also while they start and while they fork."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pytest

from applications import application
from peers.otlp import Receiver
from peers.spans import Span
from peers.waiting import until

AHEAD_S = 0.05
"""What has ended so long before a kill is in the journal; on a busy machine some is not, as the tests print."""

WORK = """
import os, sys, time
from langfuse_integration import langfuse_manager

def work(user, number):
    with langfuse_manager.session(f"chat of {user}", user_id=user) if user else langfuse_manager.detached():
        with langfuse_manager.trace_span("row", input=f"question {number} of {user}") as row:
            row.update(output=f"answer {number} to {user}")
    os.write(1, f"{row.id} {os.getpid()} {time.monotonic()} {number} {user}\\n".encode())
"""
SERVING = (
    WORK
    + """
number = 0
while True:
    work(("", f"ann-{sys.argv[1]}", f"bob-{sys.argv[1]}")[number % 3], number)
    number += 1
    time.sleep(0.002)
"""
)
FORKING = (
    WORK
    + """
import random, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)
number = 0
while True:
    work(f"parent-{sys.argv[1]}", number)
    number += 1
    child = os.fork()
    if child == 0:
        work(f"child-{number}-{sys.argv[1]}", 0)
        os._exit(0)
    if random.random() < 0.3:  # while it begins, works or ends
        time.sleep(random.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.write(1, f"killed {child} {time.monotonic()}\\n".encode())
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
)


@dataclass
class Killed:
    """What processes had reported before they were killed.

    Attributes:
        age_s: how long before the kill each row had ended; infinite in a process that ended by itself.
        orders: the ids of the rows of each process, in their order.
    """

    users: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    age_s: dict[str, float] = field(default_factory=dict)
    orders: list[list[str]] = field(default_factory=list)
    without_rows: int = 0

    def add(self, reports: str, killed_pid: int, killed_s: float) -> None:
        """Take the reports of a process that was killed, and of its children; a line may be cut off."""
        lines = [line.split() for line in reports.splitlines(keepends=True) if line.endswith("\n")]
        kills = {str(killed_pid): killed_s, **{pid: float(at_s) for word, pid, at_s, *_ in lines if word == "killed"}}
        lines = [line for line in lines if line[0] != "killed"]
        orders: dict[str, list[str]] = {}
        for span_id, pid, ended_s, number, *user in lines:
            self.users[span_id] = "".join(user)
            self.texts[span_id] = number
            self.age_s[span_id] = kills.get(pid, inf) - float(ended_s)
            orders.setdefault(pid, []).append(span_id)
        self.orders += orders.values()
        self.without_rows += not lines


def run_and_kill(code: str, number: int, environment: dict[str, str], chance: random.Random, killed: Killed) -> None:
    """Start a process, and kill it within 1.5 s: of its start, or of its first row."""
    pause_s, from_start = chance.uniform(0.0, 1.5), chance.random() < 0.25
    with subprocess.Popen(
        [sys.executable, "-c", code, str(number)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reports: list[str] = []
        reading = threading.Thread(target=lambda: reports.extend(process.stdout or ()))
        reading.start()
        until(lambda: from_start or bool(reports), 120, "a first row")
        time.sleep(pause_s)
        process.kill()
        killed_s = time.monotonic()
        reading.join()
    killed.add("".join(reports), process.pid, killed_s)


def run_and_kill_many(code: str, kills: int, at_once: int, receiver: Receiver, journal: Path) -> Killed:
    """Run and kill *kills* processes on one journal, *at_once* at any time; return what they reported."""
    chance = random.Random(kills)
    environment = {**os.environ, **receiver.environment(), "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    killed = Killed()
    with ThreadPoolExecutor(at_once) as pool:
        jobs = [
            pool.submit(run_and_kill, code, number, environment, random.Random(chance.random()), killed)
            for number in range(kills)
        ]
    assert [job.result() for job in jobs] == [None] * kills
    return killed


def assert_right(spans: list[Span], killed: Killed) -> Counter[str]:
    """Assert that each row that came is whole and its user's; return how many came, were repeated or are missing."""
    counts: Counter[str] = Counter()
    came: dict[str, Span] = {}
    for span in spans:
        user = killed.users.get(span.span_id)
        if user is None:  # its report was cut off by the kill
            user = span.user_id or ""
        assert (span.session_id, span.user_id) == ((f"chat of {user}", user) if user else (None, None))
        assert str(span.attributes["langfuse.observation.input"]).endswith(f" of {user}")
        if span.status_message == "the process ended":
            counts["said to be open"] += 1
            counts["said to be open, but had ended before"] += killed.age_s.get(span.span_id, 0.0) >= AHEAD_S
            continue
        assert span.status == "UNSET"
        number = killed.texts.get(span.span_id)
        if number is not None:
            assert span.attributes["langfuse.observation.input"] == f"question {number} of {user}"
            assert span.attributes["langfuse.observation.output"] == f"answer {number} to {user}"
        if span.span_id in came:
            counts["sent again whole"] += 1
            assert came[span.span_id] == span
        came[span.span_id] = span
    missing = [span_id for span_id in killed.users if span_id not in came]
    for ids in killed.orders:
        lost = [span_id for span_id in ids if span_id not in came]
        assert lost == ids[len(ids) - len(lost) :]  # only the newest
    counts["rows"] = len(came)
    counts["missing"] = len(missing)
    counts["missing, but had ended before"] = sum(killed.age_s[span_id] >= AHEAD_S for span_id in missing)
    ages_s = [killed.age_s[span_id] for span_id in missing]
    counts["oldest of them, ms"] = round(1000 * max((age_s for age_s in ages_s if age_s < inf), default=0))
    counts["missing of processes that ended by themselves"] = ages_s.count(inf)
    counts["killed without a row"] = killed.without_rows
    return counts


def deliver(journal: Path, receiver: Receiver) -> list[Span]:
    """Deliver what is in the journal, in one more process; return all that came but its own row."""
    with application("with langfuse_manager.trace_span('last'):\n    pass", journal, receiver) as process:
        assert process.wait(300) == 0
    return [span for span in receiver.spans if span.name != "last"]


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize(("kills", "at_once"), [(300, 1), (700, 8)])
def test_a_thousand_kills_at_any_moment(kills: int, at_once: int, receiver: Receiver, journal: Path) -> None:
    """One process at a time, and eight: what came is whole, its user's and no error; only the newest is missing."""
    killed = run_and_kill_many(SERVING, kills, at_once, receiver, journal)
    counts = assert_right(deliver(journal, receiver), killed)
    print(f"\n{kills} kills, {at_once} at once, {len(killed.users)} rows reported: {dict(counts)}")
    assert counts["rows"] > kills


def test_a_few_workers_that_are_killed_while_they_fork(receiver: Receiver, journal: Path) -> None:
    """Parents and children die at any moment of a fork: what came is right, and all of each child that ended itself."""
    killed = run_and_kill_many(FORKING, 6, 2, receiver, journal)
    counts = assert_right(deliver(journal, receiver), killed)
    assert counts["rows"] > 0
    assert counts["missing of processes that ended by themselves"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_workers_that_are_killed_while_they_fork(receiver: Receiver, journal: Path) -> None:
    """Parents and children die at any moment of a fork: what came is right, and all of each child that ended itself."""
    killed = run_and_kill_many(FORKING, 100, 4, receiver, journal)
    counts = assert_right(deliver(journal, receiver), killed)
    print(f"\n100 kills of forking workers, {len(killed.users)} rows reported: {dict(counts)}")
    assert counts["rows"] > 100
    assert counts["missing of processes that ended by themselves"] == 0
    assert counts["said to be open, but had ended before"] == 0

"""The two clocks of a row: it begins and ends where it did, whatever happens between two readings."""

from __future__ import annotations

import pytest
from typing_extensions import override

from langfuse_integration.recording import clocks, observation, registry, tracing
from langfuse_integration.testing import RecordedSessions

WALL_NS = 1_900_000_000_000_000_000
MS = 1_000_000


class Plumbing(registry.RunStart):
    """A run that has a row only if it is asked for."""

    key = 1
    name = "folded"

    @override
    def observe(self, run: registry.Run) -> observation.Observation:
        return tracing.start_below(run.anchor, self.name, "chain")


class Machine:
    """A machine whose thread loses the processor before it reads the steady clock.

    Attributes:
        holds: for how long, in ns, at each of the next readings.
        wall_ns: what the wall clock says when the steady one says 0.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at_ns = 0
        self.holds: list[int] = []
        self.wall_ns = WALL_NS
        for module in (observation, registry):
            monkeypatch.setattr(module, "_now", self.now)
            monkeypatch.setattr(module, "_clock", self.steady)
        monkeypatch.setattr(clocks, "now", self.now)
        monkeypatch.setattr(clocks, "steady", self.steady)
        monkeypatch.setattr(clocks, "distance_ns", 0)

    def now(self) -> int:
        return self.wall_ns + self.at_ns

    def steady(self) -> int:
        self.at_ns += self.holds.pop(0) if self.holds else 0
        return self.at_ns


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, sessions: RecordedSessions) -> Machine:
    return Machine(monkeypatch)


def times(sessions: RecordedSessions) -> dict[str, tuple[float, float]]:
    """Return when each row began and ended, in ms."""
    return {row.name: ((row.started_ns - WALL_NS) / MS, (row.ended_ns - WALL_NS) / MS) for row in sessions.observations}


def test_a_thread_that_is_held_up_as_a_row_begins(machine: Machine, sessions: RecordedSessions) -> None:
    """The row begins when it goes on, and not before the hold-up: so it ends after the rows below it."""
    tracing.start("before", "span").end()
    machine.holds = [5 * MS]
    above = tracing.start("above", "span")
    machine.at_ns += MS
    below = tracing.start_below(above, "below", "span")
    machine.at_ns += MS
    below.end()
    above.end()
    assert times(sessions) == {"before": (0, 0), "above": (5, 7), "below": (6, 7)}


def test_a_thread_that_is_held_up_again_and_again(machine: Machine, sessions: RecordedSessions) -> None:
    """Of several readings the last undisturbed one counts."""
    tracing.start("before", "span").end()
    machine.holds = [5 * MS, 5 * MS, 0, 5 * MS]
    held = tracing.start("held", "span")
    machine.at_ns += MS
    held.end()
    assert times(sessions)["held"] == (15, 16)


def test_a_thread_that_is_held_up_as_plumbing_begins(machine: Machine, sessions: RecordedSessions) -> None:
    """A run whose row is made later, if at all, begins when its thread goes on, too."""
    above = tracing.start("above", "span")
    machine.holds = [5 * MS]
    folded = tracing.registry.open(Plumbing(), None, above)
    assert folded is not None
    machine.at_ns += MS
    folded.observation.end()
    above.end()
    assert times(sessions) == {"above": (0, 6), "folded": (5, 6)}


def test_both_clocks_are_one_moment_for_whoever_reads_them(machine: Machine) -> None:
    """An undisturbed reading is taken as it is, a disturbed one is not."""
    assert clocks.read() == (WALL_NS, 0)
    machine.holds = [5 * MS]
    assert clocks.read() == (WALL_NS + 5 * MS, 5 * MS)


@pytest.mark.parametrize("step_ns", [3600 * 1000 * MS, -3600 * 1000 * MS])
def test_a_wall_clock_that_is_set(machine: Machine, sessions: RecordedSessions, step_ns: int) -> None:
    """What begins after that has the new time at once; what was open lasts as long as it did."""
    opened = tracing.start("open", "span")
    machine.wall_ns += step_ns
    machine.at_ns += MS
    later = tracing.start("later", "span")
    machine.at_ns += MS
    later.end()
    opened.end()
    assert times(sessions) == {"open": (0, 2), "later": (step_ns / MS + 1, step_ns / MS + 2)}


def test_clocks_are_read_once_where_nothing_happens(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first row of a process reads again."""
    tracing.start("first", "span").end()
    monkeypatch.setattr(clocks, "moment", None)
    for _ in range(3):
        machine.at_ns += MS
        tracing.start("next", "span").end()

"""Clocks that are wrong by weeks, or set while a process runs: nothing is lost, and nothing false is recorded."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from applications import application, run
from peers.otlp import Receiver
from peers.tls import TlsFront
from wrong_clock import DAY_S, WrongClock

pytestmark = pytest.mark.application

RECORDING = """
with langfuse_manager.trace_span("agent", as_type="agent") as span:
    print(span.id)
"""


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    """A clock that is right."""
    return WrongClock(tmp_path)


def rows_of(journal: Path) -> dict[str, str]:
    """Return the levels of the rows in a journal by id; none of them is negative in time, or a day long."""
    with closing(sqlite3.connect(journal)) as db:
        rows = db.execute("SELECT span_id, level, ended_ns - started_ns FROM spans").fetchall()
    assert all(0 <= took_ns < DAY_S * 1e9 for _, _, took_ns in rows)
    return {span_id: level for span_id, level, _ in rows}


@pytest.mark.parametrize("days", [-40, 40])
def test_rows_of_a_machine_with_a_wrong_clock_arrive(
    clock: WrongClock, receiver: Receiver, journal: Path, days: int
) -> None:
    """A clock that is 40 days ahead or behind removes and refuses nothing, and what it recorded is delivered later."""
    clock.set_by(days)
    ids = {run(RECORDING, journal, environment=clock.environment).strip() for _ in range(2)}
    assert rows_of(journal) == dict.fromkeys(ids, "DEFAULT")
    one = run(RECORDING, journal, receiver, environment=clock.environment).strip()
    assert [span.span_id for span in receiver.spans] == [one]


def test_a_clock_that_is_ahead_removes_no_waiting_rows(clock: WrongClock, receiver: Receiver, journal: Path) -> None:
    """Waiting rows are delivered by a process to which they are 40 days old; one line says it."""
    receiver.refuse()
    waiting = run(RECORDING, journal, receiver, environment={"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0"}).strip()
    receiver.listen()
    clock.set_by(40)
    own = run(
        RECORDING, journal, receiver, environment=clock.environment, logged="newest row of the journal is 40 days old"
    )
    assert {span.span_id for span in receiver.spans} == {waiting, own.strip()}
    assert receiver.doubled() == {}


@pytest.mark.parametrize("days", [-40, 40])
@pytest.mark.parametrize("start", [0, -40])
def test_a_clock_that_is_set_while_a_process_runs(
    clock: WrongClock, receiver: Receiver, journal: Path, start: int, days: int
) -> None:
    """A run that was open when the clock was set takes as long as it took; nothing is removed, and one line says it."""
    code = """
        from pathlib import Path

        clock = Path(os.environ["WRONG_CLOCK"])
        days = int(sys.argv[1])
        with langfuse_manager.trace_span("before") as before:
            pass
        langfuse_manager.flush(60)
        with langfuse_manager.trace_span("outer") as outer:
            clock.write_text(str(days * 86400))
            with langfuse_manager.trace_span("inner") as inner:
                pass
        for number in range(3):
            time.sleep(1.1)  # retention looks once a second
            with langfuse_manager.trace_span("after") as after:
                pass
            langfuse_manager.flush(60)
        print(before.id, outer.id, inner.id, inner.parent_id, after.id)
    """
    clock.set_by(start)
    with application(code, journal, None, days + start, environment=clock.environment) as process:
        printed, logged = process.communicate(timeout=120)
    before, outer, inner, parent, after = printed.split()
    assert parent == outer
    rows = rows_of(journal)
    assert {before, outer, inner, after} < rows.keys()
    assert (len(rows), set(rows.values())) == (6, {"DEFAULT"})
    assert logged.count("\n") == logged.count(f"was set by {days:+} days") == 1


def test_a_forked_worker_records_when_its_clock_is_set_back(
    clock: WrongClock, journal: Path, receiver: Receiver
) -> None:
    """What a child starts after its clock was set back by half a day is its own, although its parent lives."""
    code = """
        from pathlib import Path

        with langfuse_manager.trace_span("parent"):
            pass
        if not os.fork():
            Path(os.environ["WRONG_CLOCK"]).write_text("-43200")
            with langfuse_manager.trace_span("child"):
                pass
            sys.exit()
        os.wait()
    """
    run(code, journal, receiver, environment=clock.environment)
    assert sorted(span.name for span in receiver.spans) == ["child", "parent"]


def test_a_certificate_that_only_a_wrong_clock_refuses(
    clock: WrongClock, journal: Path, receiver: Receiver, tmp_path: Path
) -> None:
    """When a certificate is out of date by this machine's clock, the line says to check the clock; rows wait."""
    clock.set_by(40_000)
    with TlsFront(receiver.port, tmp_path) as front:
        environment = {
            **receiver.environment(),
            **clock.environment,
            "LANGFUSE_BASE_URL": front.url,
            "SSL_CERT_FILE": str(front.authority),
            "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "10",
        }
        run(RECORDING, journal, environment=environment, logged="check the clock of this machine (")
        clock.set_by(0)
        run(RECORDING, journal, environment=environment)
    assert len(receiver.spans) == 2
    assert receiver.doubled() == {}

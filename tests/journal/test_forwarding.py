"""What the journal knows of rows for destinations beside Langfuse, whoever writes and removes them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from encoding_rows import body
from langfuse_integration import OtlpDestination
from langfuse_integration.encoding.observed import request_of
from langfuse_integration.encoding.row import Row, row_of
from langfuse_integration.journal.forwarding import Forwarding
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.moving import move
from langfuse_integration.journal.recovery import recover

ONE, TWO = OtlpDestination("http://one:4318"), OtlpDestination("http://two:4318")
ME = 7


def row(number: int) -> Row:
    """Return a row of a span with this number."""
    made = row_of(request_of(body("span", f"span {number}", {"input": str(number)})))
    return made._replace(span_id=f"{number:016x}")


@pytest.fixture
def recorded(journal: Path) -> Journal:
    """A journal with five rows for two destinations; the first has rows 1 and 2, and refused row 3."""
    opened = Journal(journal)
    forwarding = Forwarding(opened, ME, [ONE, TWO])
    opened.append(ME, [row(number) for number in range(1, 6)])
    forwarding.acknowledge(ONE, [1, 2], keep=False)
    forwarding.set_aside(ONE, [3], "too old")
    return opened


def waiting(forwarding: Forwarding, destination: OtlpDestination) -> list[str]:
    """Return the names of the rows that wait for a destination."""
    batch = forwarding.next_batch(destination, ME, 100, 1_000_000)
    return [f"span {int(span_id, 16)}" for _, span_id in batch.keys] if batch is not None else []


def states(journal: Journal) -> dict[int, int]:
    """Return the state of delivery to Langfuse of each row that is there."""
    return dict(journal.query("SELECT id, state FROM spans"))


def test_a_release_that_knows_no_destinations_removes_nothing_that_waits(recorded: Journal, journal: Path) -> None:
    """An older release that deletes what Langfuse has leaves rows that wait or were refused, as delivered ones."""
    older = sqlite3.connect(journal, isolation_level=None)
    Forwarding(recorded, ME, [ONE, TWO]).acknowledge(TWO, [1, 3], keep=False)
    older.execute("DELETE FROM spans WHERE id <= 4")
    assert states(recorded) == {2: 1, 3: 1, 4: 1, 5: 0}
    older.close()
    recorded.close()


def test_rows_that_such_a_release_writes_wait(recorded: Journal, journal: Path) -> None:
    """A row that an older release writes for a dead writer, such as what it left open, waits for its destinations."""
    older = sqlite3.connect(journal, isolation_level=None)
    names = ", ".join(Row._fields)
    marks = ",".join("?" * (len(Row._fields) + 1))
    older.execute(f"INSERT INTO spans ({names}, writer) VALUES ({marks})", (*row(6), ME))
    older.close()
    forwarding = Forwarding(recorded, ME, [ONE, TWO])
    assert waiting(forwarding, ONE) == ["span 4", "span 5", "span 6"]
    recorded.close()


def test_a_row_leaves_when_langfuse_and_every_destination_have_it(recorded: Journal) -> None:
    """The last acknowledgement removes a row, whoever gives it; one that was refused somewhere stays."""
    forwarding = Forwarding(recorded, ME, [ONE, TWO])
    batch = recorded.next_batch(ME, 3, 1_000_000)
    assert batch is not None
    recorded.acknowledge(batch, keep=False)
    assert states(recorded) == {1: 1, 2: 1, 3: 1, 4: 0, 5: 0}
    forwarding.acknowledge(TWO, [1, 2, 3, 4], keep=False)
    assert states(recorded) == {3: 1, 4: 0, 5: 0}
    recorded.close()


@pytest.mark.parametrize("way", ["moved", "recovered"])
def test_rows_keep_their_state_in_another_journal(recorded: Journal, tmp_path: Path, way: str) -> None:
    """Rows that are moved, or recovered from a damaged file, wait for the same destinations as before, and no more."""
    successor = Journal(tmp_path / "next.sqlite3")
    forwarding = Forwarding(successor, 8, [TWO])
    Forwarding(recorded, ME, [ONE, TWO]).accompany(ME, [row(9)])
    if way == "moved":
        Forwarding(successor, ME, [ONE, TWO])
        counts: list[int] = []
        move(recorded, successor, counts.append)
        assert sum(counts) == 5
    else:
        recorded.query("INSERT INTO writers (id, owner, destination, pid, since_ns) VALUES (?, ?, '', 1, 1)", (ME, ME))
        recorded.close()
        assert recorded.path is not None
        assert recover(recorded.path, successor) == 5
    forwarding = Forwarding(successor, 9, [ONE, TWO])
    assert waiting(forwarding, ONE) == ["span 4", "span 5"]
    assert waiting(forwarding, TWO) == [f"span {number}" for number in range(1, 6)]
    refused = successor.query("SELECT reason FROM forwards WHERE state = 2")
    assert refused == [("too old",)]
    if way == "moved":
        forwarding.acknowledge(ONE, [4, 5], keep=False)
        assert waiting(forwarding, ONE) == ["span 9"]
        assert recorded.query("SELECT count(*) FROM spans") == [(0,)]
        recorded.close()
    successor.close()


def test_what_is_removed_while_it_waits_is_counted(recorded: Journal) -> None:
    """Rows that are removed for good count as evicted for each destination that waited for them."""
    with recorded.transaction() as db:
        recorded.remove(db, [1, 3, 4])
    forwarding = Forwarding(recorded, ME, [ONE, TWO])
    assert states(recorded) == {2: 0, 5: 0}
    assert (forwarding.evicted(ONE), forwarding.evicted(TWO)) == (1, 3)
    assert recorded.query("SELECT count(*) FROM forwards WHERE row IN (1, 3, 4)") == [(0,)]
    recorded.close()

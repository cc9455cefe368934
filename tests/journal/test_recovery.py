"""A damaged journal: set aside and not deleted, what can be read of it is kept, and recording goes on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from applications import deliver, run
from langfuse_integration import configure, langfuse_manager
from peers.otlp import Receiver

RECORD = """
ids = []
for number in range(400):
    with langfuse_manager.trace_span(f"span {number}", input="x" * 300) as span:
        ids.append(span.id)
langfuse_manager.flush(1)
print(*ids)
"""
QUICK = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.1"}


def filled(journal: Path, receiver: Receiver) -> list[str]:
    """A journal of 400 rows that nobody took, in one file; their ids."""
    receiver.refuse()
    ids = run(RECORD, journal, receiver, environment=QUICK, logged="connection refused").split()
    receiver.listen()
    assert not journal.with_name(journal.name + "-wal").exists()
    return ids


def aside(journal: Path) -> list[Path]:
    return [found for found in journal.parent.iterdir() if ".damaged-" in found.name]


@pytest.mark.parametrize("seed", range(4))
def test_what_can_be_read_is_kept(receiver: Receiver, journal: Path, seed: int) -> None:
    """Pages in the middle are overwritten: the file is set aside, most rows arrive, whole, and each once."""
    ids = filled(journal, receiver)
    chance = random.Random(seed)
    content = bytearray(journal.read_bytes())
    pages = len(content) // 4096
    spoilt = chance.sample(range(pages // 2, pages), 3)
    for page in spoilt:
        content[page * 4096 : (page + 1) * 4096] = chance.randbytes(4096)
    journal.write_bytes(content)
    code = """
        for _ in range(3):
            with langfuse_manager.trace_span("next"):
                pass
            langfuse_manager.flush(20)
    """
    run(code, journal, receiver, logged="is damaged")
    (kept,) = aside(journal)
    (first, *_) = spoilt
    assert kept.read_bytes()[first * 4096 : (first + 1) * 4096] == content[first * 4096 : (first + 1) * 4096]
    came = [span for span in receiver.spans if span.name != "next"]
    assert 2 <= len([span for span in receiver.spans if span.name == "next"]) <= 3  # one may be in a spoilt page
    assert len(came) > 200
    assert {span.span_id for span in came} <= set(ids)
    assert all(span.input == "x" * 300 for span in came)
    assert receiver.doubled() == {}


@pytest.mark.parametrize("content", [b"no database at all " * 500, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_file_that_is_no_journal_is_set_aside(receiver: Receiver, journal: Path, content: bytes) -> None:
    """A file that is no journal is kept unchanged under another name, and recording goes on in a new journal."""
    journal.write_bytes(content)
    run('with langfuse_manager.trace_span("query"): pass', journal, receiver, logged="is damaged")
    assert [span.name for span in receiver.spans] == ["query"]
    (kept,) = aside(journal)
    assert kept.read_bytes() == content
    deliver(journal, receiver)
    assert aside(journal) == [kept]


def test_another_applications_database_is_left_alone(receiver: Receiver, journal: Path) -> None:
    """A SQLite file with tables of its own stays as it is; observations go through memory, with one warning."""
    import sqlite3

    with sqlite3.connect(journal) as db:
        db.execute("CREATE TABLE spans (mine TEXT)")
        db.execute("INSERT INTO spans VALUES ('precious')")
    db.close()
    run('with langfuse_manager.trace_span("query"): pass', journal, receiver, logged="cannot be used")
    assert [span.name for span in receiver.spans] == ["query"]
    with sqlite3.connect(journal) as db:
        assert db.execute("SELECT mine FROM spans").fetchall() == [("precious",)]
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("spans",)]
    db.close()
    assert aside(journal) == []


def test_damage_while_it_runs_is_noticed(langfuse: Receiver, journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is overwritten under a living process: it is set aside, and what comes after arrives."""
    configure(exit_timeout_s=0.5)
    with langfuse_manager.trace_span("before"):
        pass
    assert langfuse_manager.flush(10) == (1, 0, 0)
    for found in (journal, journal.with_name(journal.name + "-wal")):
        size = found.stat().st_size
        found.write_bytes(b"\x00garbage" * (size // 8))
    for number in range(3):
        with langfuse_manager.trace_span(f"after {number}"):
            pass
        langfuse_manager.flush(10)
    assert sorted(span.name for span in langfuse.spans) == ["after 0", "after 1", "after 2", "before"]
    assert langfuse.doubled() == {}

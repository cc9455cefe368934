"""The journal as a reader sees it."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from commands import record_turn, settle
from langfuse_integration import langfuse_manager
from langfuse_integration.errors import JournalTooNew, JournalUnreadable
from langfuse_integration.journal.journal import SCHEMA
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.totals import Totals
from peers.waiting import until

TREE = [{"agent herder": ["generation ChatModel", "tool search", "generation ChatModel"]}]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"


def test_a_session_is_summed_up_without_its_payloads(journal: Path) -> None:
    """Users, traces, observations, errors, tokens, cost and times of a session."""
    record_turn("chat-1", "ada", cost=0.5)
    record_turn("chat-1", "ada", error="gone")
    settle()
    with Archive(journal) as archive:
        (summary,) = archive.sessions()
        first, second = archive.traces("chat-1")
    assert (summary.session_id, summary.users, summary.traces, summary.observations) == ("chat-1", ("ada",), 2, 8)
    assert summary.totals == Totals(2440, 42, 2482, 1.0, 1, unpriced=True)
    assert (summary.started_ns, summary.ended_ns) == (first.started_ns, second.ended_ns)
    assert summary.still_open == 0


def test_traces_come_whole_and_in_order(journal: Path) -> None:
    """A replay holds the trees of the session, in the order of their starts; an unknown session is empty."""
    record_turn("chat-1")
    record_turn("chat-2")
    record_turn("chat-1")
    settle()
    with Archive(journal) as archive:
        replay = archive.replay("chat-1")
        assert [trace.tree() for trace in replay.traces] == [TREE, TREE]
        assert replay.traces[0].started_ns < replay.traces[1].started_ns
        assert archive.replay("unknown").traces == []
        assert archive.session("unknown") is None
        assert archive.trace("0" * 32) is None


def test_what_lies_in_a_trace_of_a_session_belongs_to_it(journal: Path) -> None:
    """An untagged observation below a tagged one is shown with it; one of another session is not."""
    with langfuse_manager.session("chat-1"), langfuse_manager.trace_span("root") as root:
        trace_id = root.trace_id
        with langfuse_manager.trace_span("untagged") as untagged:
            untagged.session = None
        with langfuse_manager.trace_span("foreign") as foreign:
            foreign.set_attribute("session.id", "chat-2")
    settle()
    with Archive(journal) as archive:
        assert [trace.tree() for trace in archive.traces("chat-1")] == [[{"span root": ["span untagged"]}]]
        assert [trace.tree() for trace in archive.traces("chat-2")] == [["span untagged", "span foreign"]]
        whole = archive.trace(trace_id)
        assert whole is not None
        assert whole.tree() == [{"span root": ["span untagged", "span foreign"]}]
        assert archive.session(None) is None


def test_a_missing_file_is_an_empty_journal(journal: Path) -> None:
    """Reading makes no file; one that comes later is taken up."""
    with Archive(journal) as archive:
        assert archive.sessions() == []
        assert list(archive.traces("x")) == []
        assert list(archive.bodies("x")) == []
        assert archive.after(0) == []
        assert archive.last_number == 0
        assert archive.matching("") == []
        assert archive.states() == {"pending": 0, "delivered": 0, "set aside": 0}
        assert not journal.exists()
        record_turn("chat-1")
        settle()
        archive.refresh()
        assert [summary.session_id for summary in archive.sessions()] == ["chat-1"]
    with Archive(None) as archive:
        assert archive.sessions() == []


def test_reading_writes_nothing(journal: Path) -> None:
    """The connection refuses to write, and a journal of a user who may only read is read."""
    record_turn("chat-1")
    settle()
    with Archive(journal) as archive, pytest.raises(JournalUnreadable, match="readonly"):
        archive.query("DELETE FROM main.spans")
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_what_is_no_journal_says_so(journal: Path) -> None:
    """A file that is no database, and one of a newer release."""
    journal.write_bytes(b"no database at all " * 100)
    with pytest.raises(JournalUnreadable, match="not a database"):
        Archive(journal)
    journal.unlink()
    db = sqlite3.connect(journal)
    db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    with pytest.raises(JournalTooNew, match="upgrade"):
        Archive(journal)
    journal.unlink()
    sqlite3.connect(journal).close()
    with Archive(journal) as archive:
        assert archive.sessions() == []


def test_what_is_damaged_is_left_out(journal: Path) -> None:
    """A row whose bytes are no observation any more takes nothing else with it: not its trace, sums or searches."""
    record_turn("chat-1", "ada")
    record_turn("chat-2", "bob")
    settle()
    with sqlite3.connect(journal) as db:
        db.execute("UPDATE spans SET body = substr(body, 1, 100) WHERE type = 'tool' OR session_id = 'chat-2'")
    db.close()
    with Archive(journal) as archive:
        (trace,) = archive.traces("chat-1")
        assert trace.tree() == [{"agent herder": ["generation ChatModel", "generation ChatModel"]}]
        assert [summary.totals.tokens for summary in archive.sessions()] == [0, 1241]
        assert [summary.session_id for summary in archive.sessions(text="hay")] == ["chat-1"]
        assert len(archive.find("chat-1", "hay")) == 2
        assert list(archive.traces("chat-2")) == []


def test_new_observations_are_told_apart(journal: Path) -> None:
    """Numbers only grow, the version changes with each write, and what came after a number is found."""
    record_turn("chat-1")
    settle()
    with Archive(journal) as archive:
        last, version = archive.last_number, archive.version
        assert archive.after(last) == []
        assert archive.version == version
        record_turn("chat-2")
        settle()
        assert archive.version != version
        found = archive.after(last)
    assert [entry.observed.session_id for entry in found] == ["chat-2"] * 4
    assert [entry.number for entry in found] == list(range(last + 1, last + 5))


OPENS = """
import sys, time
from langfuse_integration import langfuse_manager
with langfuse_manager.session("run-1", "ada"), langfuse_manager.trace_span("long_run", input="go"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_what_is_open_is_known(journal: Path) -> None:
    """A root that has not ended counts, is found by user and text, and is not alive once its process is gone."""
    process = subprocess.Popen([sys.executable, "-c", OPENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        until(lambda: _running(journal) == ["long_run"], 30, "an open root")
        with Archive(journal) as archive:
            (summary,) = archive.sessions(user="ada", text="go", since_ns=1)
            assert (summary.still_open, summary.observations, summary.traces) == (1, 1, 1)
            assert archive.sessions(user="bob") == []
            assert archive.sessions(text="stop") == []
            assert archive.sessions(errors=True) == []
    finally:
        process.kill()
        process.communicate(timeout=120)
    with Archive(journal) as archive:
        assert archive.running() == []
        (trace,) = archive.traces("run-1")
        assert [found.finished for found in trace.observations] == [False]


def _running(journal: Path) -> list[str]:
    with Archive(journal) as archive:
        return [found.name for found in archive.running()]


def test_a_session_of_many_observations_is_read_trace_by_trace(journal: Path) -> None:
    """Traces come one at a time: the second is not read before it is asked for."""
    for _ in range(3):
        record_turn("chat-1")
    settle()
    with Archive(journal) as archive:
        traces = archive.traces("chat-1")
        assert next(traces).tree() == TREE
        archive.close()
        with pytest.raises(JournalUnreadable, match="closed"):
            next(traces)

"""What a journal may hold: bounded in bytes and age, the oldest sessions go first, and what is lost is counted."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from applications import assert_once, run
from journal.test_chains import size_bytes
from journal.test_journal import row
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.journal import retention, storage
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.retention import Retention
from langfuse_integration.reading.archive import Archive
from peers.otlp import Receiver
from peers.waiting import until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply the retention with every batch."""
    monkeypatch.setattr(storage, "RETENTION_S", 0.0)


def record(count: int, first: int = 0) -> list[str]:
    ids: list[str] = []
    for number in range(first, first + count):
        with langfuse_manager.trace_span(f"span {number}", input=secrets.token_hex(1_000)) as span:
            ids.append(span.id)
        if number % 50 == 0:
            langfuse_manager.flush(0.02)
    return ids


def kept(journal: Path) -> list[str]:
    """The span ids in the journal, the oldest first."""
    opened = Journal(journal)
    try:
        return [row[0] for row in opened.query("SELECT span_id FROM spans ORDER BY id")]
    finally:
        opened.close()


def test_the_oldest_give_way_to_a_size(langfuse: Receiver, journal: Path) -> None:
    """In an outage the journal stays below its size, keeps the newest, and counts what went."""
    configure(journal_max_bytes=1_000_000)
    langfuse.refuse()
    ids = record(1_500)
    until(lambda: langfuse_manager.flush(0.1).lost > 900 and len(kept(journal)) == langfuse_manager.flush(0).pending)
    delivered, pending, lost = langfuse_manager.flush(0)
    assert (delivered, pending + lost) == (0, 1_500)
    assert langfuse_manager.stats.reasons == {"journal full": lost}
    assert kept(journal) == ids[lost:]
    langfuse.listen()
    assert langfuse_manager.flush(20) == (pending, 0, lost)
    assert_once(langfuse, ids[lost:])


def test_the_file_gives_its_room_back(langfuse: Receiver, journal: Path) -> None:
    """Emptied after an outage, the journal's file becomes small again."""
    langfuse.refuse()
    record(2_000)
    langfuse_manager.flush(0.5)
    largest = journal.stat().st_size
    assert largest > 4_000_000
    langfuse.listen()
    assert langfuse_manager.flush(30).delivered == 2_000

    def small() -> bool:
        langfuse_manager.flush(0.05)
        record(1)
        return journal.stat().st_size < retention.FREE_PAGES * 4_096 + 500_000

    until(small)


def test_the_oldest_give_way_to_an_age(langfuse: Receiver, journal: Path) -> None:
    """What nobody took for too long goes, and is counted; what is younger stays."""
    langfuse.refuse()
    configure(journal_max_age_s=3_600, exit_timeout_s=0.1)
    old = record(20)
    until(lambda: langfuse_manager.flush(0.1).pending == 20 and kept(journal) == old)
    with closing(sqlite3.connect(journal, timeout=60)) as opened, opened:
        opened.execute("UPDATE spans SET ended_ns = 0")
    young = record(5, 20)
    until(lambda: langfuse_manager.flush(0.1).lost == 20)
    assert kept(journal) == young
    assert langfuse_manager.stats.reasons == {"journal full": 20}
    langfuse.listen()
    assert langfuse_manager.flush(20) == (5, 0, 20)
    assert_once(langfuse, young)


def test_scores_and_media_give_way_too(langfuse: Receiver, journal: Path) -> None:
    """Scores and media that are too old, or too much, do not stay for ever."""
    picture = "data:image/png;base64," + "QUJD" * 20_000
    langfuse.refuse()
    configure(journal_max_age_s=0.5, exit_timeout_s=0.1)
    with langfuse_manager.trace_span("old", input=picture) as span:
        span.score("old", 1)
    langfuse_manager.flush(0.2)
    time.sleep(0.7)
    record(1)

    def left() -> dict[str, int]:
        langfuse_manager.flush(0.05)
        opened = Journal(journal)
        try:
            tables = ("scores", "media", "media_uses")
            return {table: opened.query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
        finally:
            opened.close()

    until(lambda: left() == {"scores": 0, "media": 0, "media_uses": 0})
    langfuse.listen()


def test_without_keys_the_oldest_sessions_go(journal: Path) -> None:
    """Mode local: the replay keeps the newest; what was removed for them is lost, and counted."""
    configure(journal_max_bytes=1_000_000)
    record(1_500)
    delivered, pending, lost = langfuse_manager.flush(10)
    assert (delivered + lost, pending) == (1_500, 0)
    assert 100 < delivered < 600
    assert len(kept(journal)) == delivered
    assert langfuse_manager.stats.reasons == {"journal full": lost}
    with Archive(journal) as archive:
        names = {found.name for trace in archive.traces(None) for found in trace.observations}
    assert "span 1499" in names
    assert "span 0" not in names


def test_what_another_process_evicts_is_counted_by_its_writer(receiver: Receiver, journal: Path) -> None:
    """One process fills the journal up: what the other loses by that, the other counts."""
    count: Callable[[str], int] = int
    receiver.refuse()
    first = """
        for number in range(100):
            with langfuse_manager.trace_span("mine"):
                pass
        langfuse_manager.flush(0.2)
        print("written", flush=True)
        sys.stdin.readline()
        with langfuse_manager.trace_span("last"):
            pass
        until = time.monotonic() + 120
        while not langfuse_manager.flush(0.2).lost and time.monotonic() < until:
            pass
        print(langfuse_manager.stats.lost)
    """
    from applications import application

    small = {"LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES": "600000", "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.1"}
    other = """
        import logging, secrets
        logging.getLogger("langfuse_integration").setLevel(logging.ERROR)
        for number in range(1_000):
            with langfuse_manager.trace_span("other", input=secrets.token_hex(500)):
                pass
            if number % 50 == 0:
                langfuse_manager.flush(0.05)
        langfuse_manager.flush(1)
        time.sleep(1.2)
        with langfuse_manager.trace_span("other"):
            pass
        langfuse_manager.flush(1)
    """
    with application(first, journal, receiver, environment=small) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        run(other, journal, receiver, environment=small)
        printed, _ = process.communicate("go\n", timeout=180)
    assert count(printed) == 100


def sessions_left(journal: Path) -> dict[str | None, int]:
    """How many observations of each session are in the journal."""
    opened = Journal(journal)
    try:
        return dict(opened.query("SELECT session_id, count(*) FROM spans GROUP BY session_id"))
    finally:
        opened.close()


def test_whole_sessions_give_way_the_one_used_last_stays(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full journal evicts whole sessions, counts their observations as lost, and one warning names the setting."""
    configure(journal_max_bytes=1_000_000)
    for number in range(12):
        with langfuse_manager.session(f"chat {number}"):
            record(50)
        with langfuse_manager.session("always"):
            record(1)
        langfuse_manager.flush(1)
    delivered, _, lost = langfuse_manager.flush(10)
    left = sessions_left(journal)
    assert delivered == sum(left.values())
    assert delivered + lost == 12 * 51
    assert left.pop("always") == 12
    assert left == {f"chat {number}": 50 for number in range(12 - len(left), 12)}
    assert 0 < len(left) < 10
    warnings = [record.getMessage() for record in caplog.records if "_JOURNAL_MAX_BYTES" in record.getMessage()]
    assert len(warnings) == 1


def test_of_a_single_session_whole_traces_give_way(journal: Path) -> None:
    """Each of its traces has all of its three observations, or none; the newest trace is left."""
    configure(journal_max_bytes=1_000_000)
    with langfuse_manager.session("only"):
        for number in range(400):
            with langfuse_manager.trace_span(f"turn {number}", input=secrets.token_hex(1_000)):
                record(2)
            if number % 20 == 0:
                langfuse_manager.flush(1)
    delivered, _, lost = langfuse_manager.flush(10)
    assert delivered + lost == 1_200
    opened = Journal(journal)
    counts = opened.query("SELECT count(*), max(name = 'turn 399') FROM spans GROUP BY trace_id")
    opened.close()
    assert {count for count, _ in counts} == {3}
    assert max(newest for _, newest in counts) == 1


def test_what_was_being_sent_while_it_was_removed_is_delivered(journal: Path) -> None:
    """Removed while Langfuse receives it, a row is counted as lost at first, and as delivered after the response."""
    opened = Journal(journal)
    opened.query("INSERT INTO writers (id, owner, destination, pid, since_ns) VALUES (7, 7, 'x', 1, 1)")
    retention = Retention(opened, 10**9, 1.0)
    opened.append(7, [row(number) for number in range(3)])
    batch = opened.next_batch(7, 10, 1_000_000)
    assert batch is not None
    assert retention.apply()
    assert opened.query("SELECT evicted FROM writers") == [(3,)]
    opened.acknowledge(batch, keep=False)
    assert opened.query("SELECT evicted FROM writers") == [(0,)]
    opened.close()


def test_a_burst_stays_within_one_and_a_half_times_the_bound(journal: Path) -> None:
    """Large observations in quick succession: the file with its log never takes much more than allowed."""
    _burst(journal, 1_000)
    result = langfuse_manager.flush(20)
    assert result.delivered + result.lost == 1_000


@pytest.mark.slow
def test_a_burst_in_an_outage_stays_within_it_too(langfuse: Receiver, journal: Path) -> None:
    """While Langfuse is down, what the bound takes is lost with the reason, and the rest waits."""
    langfuse.refuse()
    _burst(journal, 400)
    result = langfuse_manager.flush(20)
    assert (result.delivered, result.pending + result.lost) == (0, 400)
    assert 20 < result.pending < 200
    assert langfuse_manager.stats.reasons == {"journal full": result.lost}


def _burst(journal: Path, count: int) -> None:
    configure(journal_max_bytes=8 * 1024 * 1024)
    largest = 0
    for number in range(count):
        with langfuse_manager.trace_span("burst", input=secrets.token_hex(40_000)):
            pass
        if number % 10 == 0:
            largest = max(largest, size_bytes(journal.parent))
        if number % 200 == 0:
            langfuse_manager.flush(5)
    langfuse_manager.flush(20)
    largest = max(largest, size_bytes(journal.parent))
    assert 4 * 1024 * 1024 < largest < 16 * 1024 * 1024

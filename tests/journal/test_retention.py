"""What a journal may hold: bounded in bytes and age, the oldest go first, and what is lost by that is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from applications import assert_once, run
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.journal import retention, storage
from langfuse_integration.journal.journal import Journal
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
        with langfuse_manager.trace_span(f"span {number}", input="x" * 2_000) as span:
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
    delivered, pending, lost = langfuse_manager.flush(0.5)
    assert (delivered, pending + lost) == (0, 1_500)
    assert lost > 900
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
    configure(journal_max_age_s=1.0, exit_timeout_s=0.1)
    record(20)
    langfuse_manager.flush(0.2)
    time.sleep(1.2)
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
    """Mode local: the replay keeps the newest; nothing is lost that was delivered by being written."""
    configure(journal_max_bytes=1_000_000)
    record(1_500)
    assert langfuse_manager.flush(10) == (1_500, 0, 0)
    assert 100 < len(kept(journal)) < 600
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
        until = time.monotonic() + 20
        while not langfuse_manager.flush(0.2).lost and time.monotonic() < until:
            pass
        print(langfuse_manager.stats.lost)
    """
    from applications import application

    small = {"LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES": "600000", "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.1"}
    other = """
        for number in range(1_000):
            with langfuse_manager.trace_span("other", input="x" * 1_000):
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
        run(other, journal, receiver, environment=small, logged="connection refused")
        printed, _ = process.communicate("go\n", timeout=60)
    assert count(printed) == 100

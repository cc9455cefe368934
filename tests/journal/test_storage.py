"""A journal that cannot be written: memory only, one warning, and it comes back by itself."""

from __future__ import annotations

import os
import sqlite3
from itertools import islice
from pathlib import Path

import pytest

from applications import assert_once, run
from journal.sample_rows import rows_of
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.encoding.media import Media
from langfuse_integration.export.journal_outlet import JournalOutlet
from langfuse_integration.export.worker import Worker
from langfuse_integration.journal import backend, storage
from langfuse_integration.journal.backend import WriteBatch
from langfuse_integration.journal.journal import Journal
from langfuse_integration.journal.moving import move
from langfuse_integration.reading.archive import Archive
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.recorder import QueueRecorder
from langfuse_integration.settings import Settings
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.waiting import until

FULL = """
import resource
from langfuse_integration.journal import backend, storage
storage.RETRY_S = (0.2, 0.5)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def record(first, count):
    for number in range(first, first + count):
        with langfuse_manager.trace_span(f"span {number}", input="x" * 500):
            pass

record(0, 20)
langfuse_manager.flush(10)
size = os.path.getsize(os.environ["LANGFUSE_INTEGRATION_JOURNAL"] + "-wal")
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, hard))   # the disk is full
record(20, 200)
print(*langfuse_manager.flush(float(sys.argv[1])), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))          # there is room again
record(220, 20)
until = time.monotonic() + 20
while langfuse_manager.flush(1)[0] < 240 and time.monotonic() < until and sys.argv[2] == "wait":
    pass
print(*langfuse_manager.flush(1))
"""


def test_a_full_disk_means_memory_and_is_over_by_itself(journal: Path) -> None:
    """Without keys what cannot be written is pending, and in the journal once there is room."""
    printed = run(FULL, journal, None, 1, "wait", logged="cannot be used")
    assert printed.split("\n")[:2] == ["20 200 0", "240 0 0"]
    with Archive(journal) as archive:
        names = [found.name for trace in archive.traces(None) for found in trace.observations]
    assert sorted(names) == sorted(f"span {number}" for number in range(240))


FULL_AGAIN = {
    "rows": "INSERT ON spans WHEN (SELECT count(*) FROM spans) >= 260",
    "open rows": "INSERT ON open_spans",
}


@pytest.mark.parametrize("full_at", FULL_AGAIN)
def test_what_has_moved_counts_although_the_disk_is_full_again(tmp_path: Path, full_at: str) -> None:
    """Rows move in several transactions: those that are in the file count once, whichever of the others fails."""
    rows = list(islice(rows_of(1), 301))
    memory, file = Journal(None), Journal(tmp_path / "journal.sqlite3")
    memory.append(7, rows[:300], opened=rows[300:])
    file.query(f"CREATE TRIGGER full BEFORE {FULL_AGAIN[full_at]} BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    counts: list[int] = []
    for _ in range(2):
        with pytest.raises(sqlite3.Error, match="disk is full"):
            move(memory, file, counts.append)
        assert sum(counts) == file.pending(7) > 0
    file.query("DROP TRIGGER full")
    move(memory, file, counts.append)
    assert sum(counts) == file.pending(7) == 300
    assert memory.pending() == 0
    for journal, count in ((memory, 0), (file, 1)):
        assert journal.query("SELECT count(*) FROM open_spans") == [(count,)]
        journal.close()


def test_a_row_is_in_the_file_with_its_media_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between the two would leave a row that refers to a picture nobody has; open rows as well."""
    monkeypatch.setattr(storage, "RETRY_S", (0.0, 0.0))
    place = tmp_path / "journal.sqlite3"
    first, second, opened = islice(rows_of(1), 3)
    media = [
        Media(f"m-{row.span_id}", "image/png", "", b"x", row.trace_id, row.span_id, "input") for row in (first, opened)
    ]
    stored = storage.Storage(Settings(journal=str(place), journal_max_age_s=1e12), 7, lambda _: None)
    stored.open()
    other = Journal(place)
    other.query("CREATE TRIGGER full BEFORE INSERT ON media_uses BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    batch = WriteBatch([first, second], opened=[opened], media=media)
    assert stored.store(batch) == 0
    counts = "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM open_spans), (SELECT count(*) FROM media_uses)"
    assert other.query(counts) == [(0, 0, 0)]
    other.query("DROP TRIGGER full")
    stored.tidy()
    assert other.query(counts) == [(2, 1, 2)]
    other.close()
    stored.close()


def test_the_parts_of_a_large_batch_have_their_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each medium is in the part with its row, once; the rows that are open, and what is of none, are in the last."""
    rows = list(islice(rows_of(1), 4))
    media = [Media("m", "image/png", "", b"x", row.trace_id, row.span_id, "input") for row in rows]
    stored = storage.Storage(Settings(journal=str(tmp_path / "journal.sqlite3")), 7, lambda _: None)
    monkeypatch.setattr(stored, "_retention_bytes", 1)
    parts = list(stored.parts(WriteBatch(rows[:3], opened=rows[3:], media=[*media, media[0]])))
    assert [len(part.rows) for part in parts] == [1, 1, 1]
    assert [part.media for part in parts] == [[media[0], media[0]], [media[1]], [media[2], media[3]]]
    assert [part.opened for part in parts] == [(), (), rows[3:]]
    stored.close()


def test_what_has_moved_counts_although_rows_are_written_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write that finds the file usable again moves the rows in memory, too: all of them count."""
    monkeypatch.setattr(storage, "RETRY_S", (0.0, 0.0))
    place = tmp_path / "journal.sqlite3"
    place.mkdir()
    outlet = JournalOutlet.from_settings(Settings(journal=str(place)))
    recorder = QueueRecorder(lambda recorder: Worker(recorder, outlet))
    recorder._exited = True  # each row is written on this thread, at once
    for number in range(4):
        if number == 3:
            assert outlet.outcome() == (0, 0, 0)
            place.rmdir()
        Observation(f"row {number}", "span", recorder, None).finish()
    assert outlet.outcome() == (4, 0, 0)
    outlet.stop()


def test_a_full_disk_does_not_keep_langfuse_from_getting_it(receiver: Receiver, journal: Path) -> None:
    """With keys what lies in memory is sent from there, and nothing twice: neither then nor by the next process."""
    printed = run(FULL, journal, receiver, 20, "wait", logged="cannot be used")
    assert printed.split("\n")[:2] == ["220 0 0", "240 0 0"]
    assert sorted(span.name for span in receiver.spans) == sorted(f"span {number}" for number in range(240))
    run('with langfuse_manager.trace_span("next"): pass', journal, receiver)
    assert len(receiver.spans) == 241
    assert receiver.doubled() == {}


def test_a_full_disk_in_an_outage_moves_over_when_there_is_room(receiver: Receiver, journal: Path) -> None:
    """What was only in memory in an outage is in the journal at the end, and delivered by the next process."""
    receiver.always(status(503))
    environment = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.1"}
    code = FULL.replace('sys.argv[2] == "wait"', "shelf_is_in_memory()").replace(
        "record(220, 20)\n",
        """record(220, 20)
def shelf_is_in_memory():
    from langfuse_integration.recording import tracing
    return tracing.recorder.worker._outlet._journal._storage.in_memory()
""",
    )
    with_log = code.replace("import resource\n", "import resource, logging\nlogging.basicConfig(stream=sys.stdout)\n")
    printed = run(with_log, journal, receiver, 1, "", environment=environment)
    assert "0 220 0\n" in printed
    assert "0 240 0\n" in printed
    assert "in memory only, and go with it" not in printed
    receiver.always(None)
    run('with langfuse_manager.trace_span("next"): pass', journal, receiver)
    receiver.wait_for(241)
    assert receiver.doubled() == {}


def test_a_place_that_cannot_be_written_is_tried_again(
    langfuse: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that is none: one warning, memory, and the journal once the directory can be made."""
    monkeypatch.setattr(storage, "RETRY_S", (0.1, 0.2))
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a directory should be")
    configure(journal=blocked / "journal.sqlite3")
    langfuse.refuse()
    for name in "abc":
        with langfuse_manager.trace_span(name):
            pass
        assert langfuse_manager.flush(0.3).pending == "abc".index(name) + 1
    warnings = [found.getMessage() for found in caplog.records if "cannot be used" in found.getMessage()]
    assert len(warnings) == 1
    blocked.unlink()
    until(lambda: (blocked / "journal.sqlite3").exists())  # nothing is recorded meanwhile
    until(lambda: _rows(blocked / "journal.sqlite3") == 3)
    langfuse.listen()
    assert langfuse_manager.flush(20) == (3, 0, 0)
    assert sorted(span.name for span in langfuse.spans) == ["a", "b", "c"]
    assert langfuse.doubled() == {}


def test_memory_is_bounded_and_what_it_drops_is_counted(langfuse: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal and without Langfuse the oldest give way, and are lost by name."""
    monkeypatch.setattr(backend, "MEMORY_BYTES", 400_000)
    configure(journal="off")
    langfuse.refuse()
    ids: list[str] = []
    for number in range(1_500):
        with langfuse_manager.trace_span(f"span {number}", input="x" * 500) as span:
            ids.append(span.id)
        if number % 100 == 0:
            langfuse_manager.flush(0.05)
    until(lambda: langfuse_manager.flush(0.2).lost > 700)
    delivered, pending, lost = langfuse_manager.flush(0.2)
    assert (delivered, pending + lost) == (0, 1_500)
    langfuse.listen()
    delivered, pending, lost = langfuse_manager.flush(20)
    assert (delivered + lost, pending) == (1_500, 0)
    assert langfuse_manager.stats.reasons == {"memory full": lost}
    assert_once(langfuse, ids[lost:])


def test_a_journal_that_is_off_leaves_no_file(langfuse: Receiver, tmp_path: Path) -> None:
    """LANGFUSE_INTEGRATION_JOURNAL=off: delivery works from memory."""
    configure(journal="off")
    os.chdir(tmp_path)
    with langfuse_manager.trace_span("query"):
        pass
    assert langfuse_manager.flush(10) == (1, 0, 0)
    assert [span.name for span in langfuse.spans] == ["query"]
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_somebody_locks_is_waited_for_in_memory(
    langfuse: Receiver, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that outlasts SQLite's patience costs nothing: Langfuse gets it from memory."""
    monkeypatch.setattr(storage, "RETRY_S", (0.1, 0.2))
    with langfuse_manager.trace_span("first"):
        pass
    langfuse_manager.flush(10)
    other = sqlite3.connect(journal, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with langfuse_manager.trace_span("meanwhile"):
        pass
    assert langfuse_manager.flush(30) == (2, 0, 0)
    other.execute("COMMIT")
    other.close()
    with langfuse_manager.trace_span("after"):
        pass
    assert langfuse_manager.flush(30) == (3, 0, 0)
    assert [span.name for span in langfuse.spans] == ["first", "meanwhile", "after"]


def _rows(journal: Path) -> int:
    with Archive(journal) as archive:
        return archive.states()["pending"]

"""The journal: a file of this user alone, shared by processes, with a schema that has versions."""

from __future__ import annotations

import random
import sqlite3
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from applications import application, arrived, deliver, run
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.encoding.row import Row
from langfuse_integration.errors import JournalTooNew
from langfuse_integration.journal import schema
from langfuse_integration.journal.journal import PENDING, Journal
from langfuse_integration.reading.archive import Archive
from peers.otlp import Receiver


def row(number: int, body: bytes = b"body", session_id: str | None = None) -> Row:
    return Row(f"{number:016x}", f"{number:032x}", "", session_id, None, "name", "span", "DEFAULT", 1, 2, body)


def bodies(journal: Journal, writer: int, **options: int) -> list[bytes]:
    """What a writer's rows hold, taken batch by batch and acknowledged."""
    found: list[bytes] = []
    while (batch := journal.next_batch(writer, **{"max_rows": 7, "max_bytes": 10_000, **options})) is not None:
        start = 0
        for size in batch.sizes:
            found.append(batch.body[start : start + size])
            start += size
        assert start == len(batch.body)
        journal.acknowledge(batch, keep=False)
    return found


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    """The file and its log have mode 0600, the directory made for it and that of the writers 0700."""
    path = tmp_path / "made" / "journal.sqlite3"
    configure(journal=path)
    with langfuse_manager.trace_span("secret"):
        pass
    langfuse_manager.flush(10)
    modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    assert modes == {
        "journal.sqlite3": 0o600,
        "journal.sqlite3-wal": 0o600,
        "journal.sqlite3-shm": 0o600,
        "journal.sqlite3-writers": 0o700,
    }
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    configure()
    assert list((path.parent / "journal.sqlite3-writers").iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 127, 500])
def test_rows_come_back_byte_for_byte_and_in_order(journal: Path, count: int) -> None:
    """Bodies of any bytes, NULs and invalid UTF-8 among them, are what was written, for each writer its own."""
    chance = random.Random(count)
    written = [chance.randbytes(chance.choice([0, 1, 20, 3_000])) for _ in range(count)]
    opened = Journal(journal)
    opened.append(1, [row(number, body) for number, body in enumerate(written)])
    opened.append(2, [row(count, b"of another")])
    assert bodies(opened, 1) == written
    assert bodies(opened, 2) == [b"of another"]
    assert opened.pending() == 0
    opened.close()


def test_a_batch_is_bounded_in_rows_and_bytes(journal: Path) -> None:
    """A batch ends before it is too large; a row that is too large alone is a batch."""
    opened = Journal(journal)
    opened.append(1, [row(number, b"x" * size) for number, size in enumerate([400, 400, 400, 5_000, 1])])
    sizes: list[list[int]] = []
    while (batch := opened.next_batch(1, 2, 1_000)) is not None:
        sizes.append(batch.sizes)
        opened.acknowledge(batch, keep=False)
    assert sizes == [[400, 400], [400], [5_000], [1]]
    opened.close()


def test_a_batch_of_one_session_leaves_the_others(journal: Path) -> None:
    """A batch of one session has only the session's rows, and only these are settled."""
    opened = Journal(journal)
    opened.append(1, [row(number, b"%d" % number, "ab"[number % 2]) for number in range(6)])
    batch = opened.next_batch(1, 10, 1_000, "a")
    assert batch is not None
    assert batch.body == b"024"
    opened.acknowledge(batch, keep=False)
    assert bodies(opened, 1) == [b"1", b"3", b"5"]
    opened.close()


def test_rows_put_together_are_one_request(langfuse: Receiver) -> None:
    """Rows are whole OTLP requests, so that a batch is their bodies one after the other."""
    for number in range(5):
        with langfuse_manager.trace_span(f"span {number}", input=number):
            pass
    langfuse_manager.flush(10)
    assert len(langfuse.requests) == 1
    request = ExportTraceServiceRequest.FromString(langfuse.requests[0].request.body)
    assert len(request.resource_spans) == 5
    assert [(span.name, span.input) for span in langfuse.spans] == [(f"span {number}", number) for number in range(5)]


def test_a_newer_schema_is_refused_and_left_alone(journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading says what to do; recording goes on in memory with one warning, and the file is what it was."""
    with sqlite3.connect(journal) as db:
        db.execute(f"PRAGMA user_version={schema.SCHEMA + 1}")
    db.close()
    before = journal.read_bytes()
    with pytest.raises(JournalTooNew, match=r"upgrade langfuse-integration, or set LANGFUSE_INTEGRATION_JOURNAL"):
        Journal(journal)
    for _ in range(3):
        with langfuse_manager.trace_span("query"):
            pass
        assert langfuse_manager.flush(10).delivered == 0
    assert langfuse_manager.stats.pending == 3
    assert [record.getMessage()[:60] for record in caplog.records] == [f"The journal {journal} cannot be used"[:60]]
    assert journal.read_bytes() == before


def test_a_file_that_a_newer_release_migrates_meanwhile_is_left_alone(langfuse: Receiver, journal: Path) -> None:
    """A running process reads and writes no more in it; what it records from then on is delivered from memory."""
    with langfuse_manager.trace_span("before"):
        pass
    langfuse_manager.flush(10)
    other = Journal(journal)
    other.append(1, [row(1, b"waits")])
    with sqlite3.connect(journal) as db:
        db.execute(f"PRAGMA user_version={schema.SCHEMA + 1}")
    db.close()
    with pytest.raises(OSError, match="upgrade langfuse-integration"):
        other.append(1, [row(2, b"")])
    with pytest.raises(OSError, match="upgrade langfuse-integration"):
        other.next_batch(1, 10, 1_000)
    for number in range(3):
        with langfuse_manager.trace_span(f"after {number}"):
            pass
    assert langfuse_manager.flush(30).pending == 0
    assert [span.name for span in langfuse.spans] == ["before", "after 0", "after 1", "after 2"]
    assert other.query("SELECT body FROM spans") == [(b"waits",)]
    other.close()


def test_an_older_schema_is_brought_up_to_date(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration runs once, in one transaction with its version, and keeps every row; a failed one changes nothing."""
    first = Journal(journal)
    first.append(1, [row(1, b"kept")])
    first.close()
    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    step = "ALTER TABLE spans ADD COLUMN further TEXT DEFAULT 'new'"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, f"{step}; SELECT * FROM nowhere"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        Journal(journal)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], step))
    for _ in range(2):
        second = Journal(journal)
        assert second.query("SELECT body, further FROM spans") == [(b"kept", "new")]
        assert second.query("PRAGMA user_version") == [(schema.SCHEMA,)]
        second.close()


def test_many_processes_may_make_it_at_the_same_moment(journal: Path) -> None:
    """Whoever comes first makes the tables, nobody fails, and all of their rows are there."""
    code = """
        sys.stdin.readline()
        with langfuse_manager.trace_span(sys.argv[1]):
            pass
        print(langfuse_manager.flush(20))
    """
    with ExitStack() as stack:
        started = [stack.enter_context(application(code, journal, None, number)) for number in range(4)]
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outcomes = [process.communicate(timeout=120) for process in started]
    assert outcomes == [("FlushResult(delivered=1, pending=0, lost=0)\n", "")] * 4
    with Archive(journal) as archive:
        assert sorted(found.name for trace in archive.traces(None) for found in trace.observations) == list("0123")


def test_a_journal_that_was_removed_is_made_again(langfuse: Receiver, journal: Path) -> None:
    """Removing the files under a living process loses nothing: what waited in them goes over to the new ones."""
    langfuse.refuse()
    with langfuse_manager.trace_span("before"):
        pass
    langfuse_manager.flush(0.5)
    for ending in ("", "-wal", "-shm"):
        Path(f"{journal}{ending}").unlink()
    with langfuse_manager.trace_span("after"):
        pass
    assert langfuse_manager.flush(0.5) == (0, 2, 0)
    with Archive(journal) as archive:
        assert archive.states() == {"pending": 2, "delivered": 0, "set aside": 0}
    langfuse.listen()
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert sorted(span.name for span in langfuse.spans) == ["after", "before"]
    assert langfuse.doubled() == {}


def test_what_langfuse_has_leaves_the_journal_at_once(langfuse: Receiver, journal: Path) -> None:
    """Nothing of a delivered observation stays, unless a setting keeps it for the local replay."""
    with langfuse_manager.trace_span("gone"):
        pass
    langfuse_manager.flush(10)
    with Archive(journal) as archive:
        assert archive.states() == {"pending": 0, "delivered": 0, "set aside": 0}
    configure(keep_delivered=True)
    with langfuse_manager.trace_span("kept"):
        pass
    langfuse_manager.flush(10)
    with Archive(journal) as archive:
        assert archive.states() == {"pending": 0, "delivered": 1, "set aside": 0}
    configure()
    assert len(langfuse.spans) == 2


def test_without_keys_it_stays_until_it_is_pushed(receiver: Receiver, journal: Path) -> None:
    """The next process with keys leaves alone what was recorded without."""
    run('with langfuse_manager.trace_span("local"): pass', journal)
    with langfuse_manager.session("s"), langfuse_manager.trace_span("mine"):
        pass
    langfuse_manager.flush(10)
    run('with langfuse_manager.trace_span("keyed"): pass', journal, receiver)
    assert [span.name for span in receiver.spans] == ["keyed"]
    opened = Journal(journal)
    assert opened.query("SELECT name, state FROM spans ORDER BY id") == [("local", PENDING), ("mine", PENDING)]
    opened.close()


def test_rows_for_another_project_are_not_delivered(receiver: Receiver, journal: Path) -> None:
    """Applications with other keys share the default journal: what one could not deliver waits for its own kind."""
    with Receiver("pk-lf-other") as other:
        other.refuse()
        run('with langfuse_manager.trace_span("theirs"): pass', journal, other, logged="connection refused")
        run('with langfuse_manager.trace_span("ours"): pass', journal, receiver, logged="1 observations for another")
        assert [span.name for span in receiver.spans] == ["ours"]
        other.listen()
        deliver(journal, other)
        assert sorted(span.name for span in arrived(other)) == ["next", "theirs"]
    assert [span.name for span in receiver.spans] == ["ours"]

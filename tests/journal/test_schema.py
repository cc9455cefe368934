"""The journal's indexes: an older file gets them, and a page of a large session never reads the whole journal."""

from __future__ import annotations

import gzip
import hashlib
import random
import sqlite3
from pathlib import Path

import pytest

from commands import record_turn, settle
from journal.test_chains import assert_sound, history, opened, read_back, row, text_of
from langfuse_integration.journal import schema
from langfuse_integration.journal.bodies import Bodies
from langfuse_integration.journal.deflating import ORIGIN
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.database import JournalFile
from viewer.sample import record

TABLES = ("spans", "open_spans", "scores", "media", "media_uses", "writers")
FILES = Path(__file__).parent / "files"
"""Journals that releases wrote, by their schema; each has the same 20 rows."""
ROWS_OF_FILES = "eb2583115140530ffece3b5ab393868aeba1d87217286fd2c7dc4a72e85cce47"


def indexes(path: Path) -> dict[str, str]:
    """Return the statements that made the indexes."""
    with sqlite3.connect(path) as db:
        found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
    db.close()
    return found


def of_the_first_schema(path: Path, source: Path) -> None:
    """Make a journal as the first schema had it, with the rows of *source*."""
    with sqlite3.connect(path) as db:
        db.executescript(schema.MIGRATIONS[0])
        db.execute("ATTACH ? AS source", (str(source),))
        original = sqlite3.connect(source)
        db.create_function("whole", 3, Bodies(original).readable)
        for table in TABLES:
            names = [row[0] for row in db.execute(f"SELECT name FROM pragma_table_info('{table}', 'main')")]
            whole = {("spans", "body"): f"whole(body, pieces, {ORIGIN})"}
            columns = [whole.get((table, name), name) for name in names]
            db.execute(f"INSERT INTO main.{table} ({', '.join(names)}) SELECT {', '.join(columns)} FROM source.{table}")
        db.execute("PRAGMA main.user_version = 1")
        original.close()
    db.close()


def seen_by(path: Path) -> list[object]:
    """Return what a reader sees in a journal."""
    with Archive(path) as archive:
        summaries = archive.sessions()
        trees = [trace.tree() for summary in summaries for trace in archive.traces(summary.session_id)]
        return [summaries, trees, archive.running(), archive.sessions(errors=True)]


def test_a_file_of_the_first_schema_is_read_as_it_is_and_then_brought_up_to_date(tmp_path: Path) -> None:
    """Reading changes nothing in it; writing gives it the indexes of a new file, and both see the same."""
    new, old = tmp_path / "new.sqlite3", tmp_path / "old.sqlite3"
    record(new)
    of_the_first_schema(old, new)
    expected = seen_by(new)
    assert len(expected[0]) > 1  # type: ignore[arg-type]
    assert seen_by(old) == expected
    assert indexes(old) != indexes(new)
    schema.connect(old).close()
    assert indexes(old) == indexes(new)
    assert seen_by(old) == expected
    with sqlite3.connect(old) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA,)
    db.close()


def test_a_page_of_a_session_never_reads_the_whole_journal(journal: Path) -> None:
    """Every statement behind the list by errors, a session, a trace and an observation goes through an index."""
    for _ in range(2):
        record_turn("chat-1", "ada", error="refused")
    settle()
    asked_for: list[str] = []
    with Archive(journal) as archive:
        assert archive._db is not None
        archive._db.set_trace_callback(asked_for.append)
        assert len(archive.sessions(errors=True)) == 1
        assert archive.session("chat-1") is not None
        for trace_id in archive.trace_ids("chat-1"):
            columns = archive.columns(trace_id, "chat-1")
            assert len(archive.observed(trace_id, [columns[2].span_id])) == 1
            assert archive.owners(trace_id) == ["chat-1"]
            assert archive.totals(trace_id, "chat-1").tokens
        assert len(archive.find("chat-1", "", errors=True)) == 2
        assert archive.matching("chat-1") == ["chat-1"]
        archive._db.set_trace_callback(None)
        own = [sql for sql in asked_for if not sql.startswith("--")]  # else a statement inside of another one
        plans = {(sql, row[3]) for sql in own for row in archive.query("EXPLAIN QUERY PLAN " + sql)}
    assert len(asked_for) > 10
    scans = {plan for _, plan in plans if plan.startswith("SCAN main.spans")}
    assert len(scans) == 1
    assert scans.pop().endswith("INDEX spans_failed")  # which holds nothing but those that failed
    one = [plan for sql, plan in plans if "span_id IN" in sql]
    assert any("INDEX spans_by_trace (trace_id=? AND span_id=?)" in plan for plan in one)


@pytest.mark.parametrize("version", range(1, schema.SCHEMA + 1))
def test_a_file_of_an_older_release_is_read_and_migrated(tmp_path: Path, version: int) -> None:
    """Every row of a real file is read byte for byte, as it is and after its migration, and histories go on in it."""
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(gzip.decompress((FILES / f"schema_{version}.sqlite3.gz").read_bytes()))
    with JournalFile(path) as before, JournalFile(path) as meanwhile:
        assert digest(before) == ROWS_OF_FILES
        with opened(path) as journal:
            assert journal.query("PRAGMA user_version") == [(schema.SCHEMA,)]
            assert_sound(journal)
            later = [row(900 + place, text_of(history(random.Random(9), 12 + place))) for place in range(3)]
            journal.append(1, later)
            assert_sound(journal)
            meanwhile.refresh()
            whole = dict(meanwhile.query("SELECT span_id, body FROM spans WHERE started_ns >= 900"))
            assert whole == {one.span_id: one.body for one in later}
            assert read_back(journal).items() >= whole.items()
            journal.query("DELETE FROM spans WHERE started_ns >= 900")
            assert journal.remove_unused(30)
            assert_sound(journal)
            assert digest(meanwhile) == ROWS_OF_FILES


def digest(file: JournalFile) -> str:
    """Return one hash of all rows."""
    hashed = hashlib.sha256()
    for span_id, body in file.query("SELECT span_id, body FROM spans ORDER BY id"):
        hashed.update(span_id.encode() + body)
    return hashed.hexdigest()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"

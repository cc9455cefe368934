"""Forgetting: removes everything of one user or one session from a journal, so that no byte of it is left in the files.

Traces are removed as wholes, as Langfuse deletes them. Deleted rows stay readable in a SQLite file until their pages
are used again: the file is written anew, and the write-ahead log emptied. What Langfuse is to delete stays noted in the
journal until Langfuse has been told; see export/erasure.py.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from . import forward_tables
from .contention import STANDSTILL_S
from .journal import Journal
from .pruning import OWED

CHUNK = 256
"""Traces in one transaction, so that applications can write in between."""
CLEAN_S = 30.0
"""How long to wait for other processes before the files are cleaned."""
_CHOSEN = "trace_id IN (SELECT value FROM json_each(:traces))"


class Subject(NamedTuple):
    """Whose data it is: one of the two is None."""

    user_id: str | None = None
    session_id: str | None = None


class Erasure(NamedTuple):
    """What Langfuse is to delete: the traces that the journal knew, and all others of the subject."""

    number: int
    subject: Subject
    trace_ids: list[str]


class Forgotten(NamedTuple):
    """What was removed.

    Attributes:
        waiting: how many of the observations were not delivered yet.
        damaged_copies: damaged journals that had been set aside; each was removed as a whole.
        elsewhere: the addresses of other destinations that may have some of it.
        is_clean: the files were rewritten; False when other processes kept them in use.
    """

    observations: int
    waiting: int
    traces: int
    scores: int
    media: int
    damaged_copies: int
    elsewhere: list[str]
    is_clean: bool


class Forgetting:
    """A journal, open for forgetting.

    Raises:
        JournalTooNew, sqlite3.Error, OSError: the journal cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._journal = Journal(path)
        self._journal.query("PRAGMA secure_delete=ON")

    def forget(self, subject: Subject, destination: str | None) -> Forgotten:
        """Remove everything of *subject*.

        Args:
            destination: the fingerprint of the Langfuse project that has to delete it, too; None for none.
        """
        trace_ids = self._traces(subject)
        if destination is not None:
            self._note(subject, trace_ids, destination)
        sessions = self._sessions(subject, trace_ids)
        counts = [0, 0, 0]
        for start in range(0, len(trace_ids), CHUNK):
            removed = self._remove(trace_ids[start : start + CHUNK])
            counts = [total + count for total, count in zip(counts, removed, strict=True)]
        scores, media = self._remove_rest(sessions)
        while not self._journal.remove_unused():
            pass
        copies, elsewhere = self._remove_damaged(), self._elsewhere()
        return Forgotten(
            counts[0], counts[1], len(trace_ids), counts[2] + scores, media, copies, elsewhere, self._clean()
        )

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def __enter__(self) -> Forgetting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- parts

    def _traces(self, subject: Subject) -> list[str]:
        column, value = ("user_id", subject.user_id) if subject.user_id is not None else ("session_id", subject[1])
        rows = self._journal.query(f"SELECT DISTINCT trace_id FROM spans WHERE {column} = ?", (value,))
        traces = {row[0] for row in rows}
        traces.update(self._open_traces(column, value))
        return sorted(traces)

    def _open_traces(self, column: str, value: str | None) -> Iterable[str]:
        opened = self._journal.query("SELECT body FROM open_spans")
        if opened:
            from .endings import opened_row

            for (body,) in opened:
                row = opened_row(body)
                if getattr(row, column) == value:
                    yield row.trace_id

    def _note(self, subject: Subject, trace_ids: Sequence[str], destination: str) -> None:
        values = (destination, *subject, json.dumps(trace_ids), time.time_ns())
        with self._journal.transaction() as db:
            db.execute(
                "INSERT INTO erasures (destination, user_id, session_id, traces, at_ns) VALUES (?,?,?,?,?)", values
            )

    def _remove(self, trace_ids: Sequence[str]) -> tuple[int, int, int]:
        """Remove some traces; return how many observations, how many of them waited, and how many scores."""
        values: dict[str, Any] = {"traces": json.dumps(trace_ids)}
        with self._journal.transaction() as db:
            waiting = 0
            owed = f"SELECT writer, count(*) FROM spans WHERE {_CHOSEN} AND {OWED} GROUP BY writer"
            for writer, count in db.execute(owed, values).fetchall():
                db.execute("UPDATE writers SET evicted = evicted + ? WHERE id = ?", (count, writer))
                waiting += count
            ids = [row[0] for row in db.execute(f"SELECT id FROM spans WHERE {_CHOSEN}", values)]
            self._journal.remove(db, ids)
            scores = db.execute(f"DELETE FROM scores WHERE {_CHOSEN}", values).rowcount
            db.execute(f"DELETE FROM media_uses WHERE {_CHOSEN}", values)
            if forward_tables.exists(db):
                db.execute(f"DELETE FROM companions WHERE {_CHOSEN}", values)
            self._remove_open(db, set(trace_ids))
        return len(ids), waiting, scores

    @staticmethod
    def _remove_open(db: sqlite3.Connection, trace_ids: set[str]) -> None:
        opened = db.execute("SELECT span_id, body FROM open_spans").fetchall()
        if opened:
            from .endings import opened_row

            for span_id, body in opened:
                if opened_row(body).trace_id in trace_ids:
                    db.execute("DELETE FROM open_spans WHERE span_id = ?", (span_id,))

    def _sessions(self, subject: Subject, trace_ids: Sequence[str]) -> list[str]:
        """Return the sessions of some traces, and that of the subject."""
        statement = f"SELECT DISTINCT session_id FROM spans WHERE {_CHOSEN} AND session_id IS NOT NULL"
        sessions = {row[0] for row in self._journal.query(statement, {"traces": json.dumps(trace_ids)})}
        return sorted({*sessions, *([subject.session_id] if subject.session_id is not None else [])})

    def _remove_rest(self, sessions: Sequence[str]) -> tuple[int, int]:
        """Remove scores of sessions that have no row any more, and unused media; return how many of each."""
        with self._journal.transaction() as db:
            scores = db.execute(
                "DELETE FROM scores WHERE session_id IN (SELECT value FROM json_each(?)) "
                "AND NOT EXISTS (SELECT 1 FROM spans WHERE spans.session_id = scores.session_id)",
                (json.dumps(sessions),),
            ).rowcount
            media = db.execute("DELETE FROM media WHERE id NOT IN (SELECT media_id FROM media_uses)").rowcount
        return scores, media

    def _remove_damaged(self) -> int:
        """Remove damaged journals that were set aside: what is in them cannot be told apart any more."""
        copies = 0
        for file in self._path.parent.glob(f"{self._path.name}.damaged-*"):
            copies += not file.name.endswith(("-wal", "-shm"))
            with suppress(FileNotFoundError):
                file.unlink()
        return copies

    def _elsewhere(self) -> list[str]:
        """Return the addresses of the destinations beside Langfuse that this journal has known."""
        if not self._journal.query("SELECT 1 FROM sqlite_master WHERE name = 'destinations'"):
            return []
        return [row[0] for row in self._journal.query("SELECT DISTINCT address FROM destinations ORDER BY address")]

    def _clean(self) -> bool:
        return _patiently(self._vacuum) and _patiently(lambda: emptied(self._journal))

    def _vacuum(self) -> bool:
        try:
            self._journal.query("VACUUM")
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                return False
            raise
        return True


def emptied(journal: Journal) -> bool:
    """Empty the write-ahead log; return False when another process is reading it."""
    return not journal.query("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]


def waiting_erasures(journal: Journal, destination: str) -> list[Erasure]:
    """Return what a Langfuse project has not been told to delete yet."""
    statement = "SELECT id, user_id, session_id, traces FROM erasures WHERE destination = ? ORDER BY id"
    return [
        Erasure(number, Subject(user_id, session_id), json.loads(traces))
        for number, user_id, session_id, traces in journal.query(statement, (destination,))
    ]


def settle_erasure(journal: Journal, erasure: Erasure) -> None:
    """Remove a request that Langfuse has accepted."""
    journal.query("PRAGMA secure_delete=ON")
    with journal.transaction() as db:
        db.execute("DELETE FROM erasures WHERE id = ?", (erasure.number,))
    _patiently(lambda: emptied(journal), STANDSTILL_S)


def _patiently(step: Any, within_s: float = CLEAN_S) -> bool:
    deadline = time.monotonic() + within_s
    while not step():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

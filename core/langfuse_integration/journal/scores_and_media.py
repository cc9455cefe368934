"""Scores and media in the journal, which go to Langfuse beside the observations."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..encoding.json_text import to_json
from ..encoding.media import Media
from ..encoding.row import clean
from ..recording.score import Score
from .journal import Journal


class WaitingScore(NamedTuple):
    """A score that waits for delivery; *value* and *data_type* as in Langfuse's API.

    Either *trace_id* or *session_id* says what is scored; a trace_id is empty where a session is. *fields* is JSON with
    what else the API is told.
    """

    id: str
    trace_id: str
    span_id: str
    name: str
    value: float | str
    data_type: str
    comment: str | None
    at_ns: int
    session_id: str | None = None
    fields: str | None = None


class WaitingUse(NamedTuple):
    """A use of a medium in a field of an observation, which waits for delivery."""

    number: int
    media_id: str
    trace_id: str
    span_id: str
    field: str
    content_type: str
    sha256: str
    size_bytes: int


class ScoresAndMedia:
    """Scores and media in one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @staticmethod
    def add(db: sqlite3.Connection, writer: int, scores: Sequence[Score], media: Sequence[Media]) -> None:
        """Write scores and media, inside a transaction."""
        db.executemany(
            "INSERT OR REPLACE INTO scores "
            "(id, trace_id, span_id, name, value, data_type, comment, at_ns, session_id, fields, writer) "
            "VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            [(*_plain(score), writer) for score in scores],
        )
        for medium in media:
            row = (medium.id, medium.content_type, medium.sha256, medium.body)
            db.execute("INSERT OR IGNORE INTO media (id, content_type, sha256, body) VALUES (?,?,?,?)", row)
            db.execute(
                "INSERT INTO media_uses (media_id, trace_id, span_id, field, writer, at_ns) VALUES (?,?,?,?,?,?)",
                (medium.id, medium.trace_id, medium.span_id, medium.field, writer, time.time_ns()),
            )

    def scores(self, writer: int, limit: int) -> list[WaitingScore]:
        """Return waiting scores of *writer*, the oldest first."""
        names = ", ".join(WaitingScore._fields)
        statement = f"SELECT {names} FROM scores WHERE writer = ? AND state = 0 ORDER BY at_ns LIMIT ?"
        return [WaitingScore(*row) for row in self._journal.query(statement, (writer, limit))]

    def uses(self, writer: int, limit: int) -> list[WaitingUse]:
        """Return waiting uses of media of *writer*, without the media's bodies."""
        statement = (
            "SELECT u.id, u.media_id, u.trace_id, u.span_id, u.field, m.content_type, m.sha256, length(m.body) "
            "FROM media_uses u JOIN media m ON m.id = u.media_id "
            "WHERE u.writer = ? AND u.state = 0 ORDER BY u.id LIMIT ?"
        )
        return [WaitingUse(*row) for row in self._journal.query(statement, (writer, limit))]

    def body(self, media_id: str) -> bytes:
        """Return the body of a medium; empty when retention removed it."""
        rows = self._journal.query("SELECT body FROM media WHERE id = ?", (media_id,))
        return bytes(rows[0][0]) if rows else b""

    def settle_scores(self, ids: Iterable[str], keep: bool, refused: str | None = None) -> None:
        """Mark scores as delivered, or with *refused*, the reason, as set aside; without *keep* delivered ones go."""
        with self._journal.transaction() as db:
            if refused is not None:
                db.executemany(
                    "UPDATE scores SET state = 2, reason = ? WHERE id = ?", [(refused, each) for each in ids]
                )
            elif keep:
                db.executemany("UPDATE scores SET state = 1 WHERE id = ?", [(each,) for each in ids])
            else:
                db.executemany("DELETE FROM scores WHERE id = ?", [(each,) for each in ids])

    def settle_use(self, use: WaitingUse, keep: bool, refused: str | None = None) -> None:
        """Mark a use of a medium as delivered or set aside; without *keep* a medium without uses goes."""
        with self._journal.transaction() as db:
            if refused is not None:
                db.execute("UPDATE media_uses SET state = 2, reason = ? WHERE id = ?", (refused, use.number))
            elif keep:
                db.execute("UPDATE media_uses SET state = 1 WHERE id = ?", (use.number,))
            else:
                db.execute("DELETE FROM media_uses WHERE id = ?", (use.number,))
                remaining = "SELECT 1 FROM media_uses WHERE media_id = media.id"
                db.execute(f"DELETE FROM media WHERE id = ? AND NOT EXISTS ({remaining})", (use.media_id,))

    def waiting(self, writer: int) -> int:
        """Return how many scores and uses of media of *writer* wait."""
        counts = "SELECT (SELECT count(*) FROM scores WHERE writer = ? AND state = 0)"
        counts += " + (SELECT count(*) FROM media_uses WHERE writer = ? AND state = 0)"
        return int(self._journal.query(counts, (writer, writer))[0][0])


def sendable(score: Score) -> bool:
    """Return whether JSON can express the value of a score: not NaN or infinite."""
    return not isinstance(score.value, float) or math.isfinite(score.value)


def _plain(score: Score) -> WaitingScore:
    value, fields = score.value, dict(score.fields or {})
    plain: float | str = float(value) if isinstance(value, (int, float)) else clean(str(value))
    data_type = "BOOLEAN" if isinstance(value, bool) else "NUMERIC" if isinstance(plain, float) else "CATEGORICAL"
    return WaitingScore(
        id=score.id,
        trace_id=f"{score.trace:032x}" if score.trace else "",
        span_id=f"{score.span:016x}" if score.span else "",
        name=clean(str(score.name)),
        value=plain,
        data_type=fields.pop("dataType", data_type),
        comment=clean(str(score.comment)) if score.comment is not None else None,
        at_ns=score.at_ns,
        session_id=score.session_id,
        fields=to_json(fields) if fields else None,
    )

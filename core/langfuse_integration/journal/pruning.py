"""Pruning: removes observations from a journal on demand."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ..errors import JournalUnreadable
from .forward_tables import FORWARDED
from .journal import DELIVERED, PENDING, Journal

_AT = "destination IN (SELECT id FROM destinations WHERE address = :address)"
CHUNK = 256
"""Rows in one transaction, so that applications can write in between."""
_AWAITED = "id IN (SELECT row FROM forwards WHERE state = 0)"
"""A row that another destination waits for."""
OWED = f"(state = {PENDING} AND writer IN (SELECT id FROM writers WHERE destination != ''))"
"""The condition for rows that were recorded for Langfuse and are not there yet."""


class Selection(NamedTuple):
    """Which observations to remove; several conditions have to hold together.

    Attributes:
        ended_before_ns: traces of which everything ended before this time, in ns since 1970.
        session_ids: observations in one of these sessions; empty for all.
        delivered_only: observations that Langfuse has acknowledged.
        owed: also observations that were recorded for Langfuse or another destination and are not there yet.
    """

    ended_before_ns: int | None = None
    session_ids: Sequence[str] = ()
    delivered_only: bool = False
    owed: bool = False


class Amount(NamedTuple):
    """The size of a selection."""

    observations: int
    sessions: int


class Pruning:
    """A journal, open for removing observations.

    Raises:
        JournalTooNew: the file was written by a newer release.
        JournalUnreadable: it is no journal, or may not be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._readable_errors():
            self._journal = Journal(path)
            self._forwards = bool(self._journal.query("SELECT 1 FROM sqlite_master WHERE name = 'forwards'"))

    def amount(self, selection: Selection) -> Amount:
        """Return how much would be removed."""
        where, values = self._where(selection)
        counts = f"SELECT count(*), count(DISTINCT session_id) FROM spans WHERE {where}"
        with self._readable_errors(), self._journal.transaction() as db:
            return Amount(*db.execute(counts, values).fetchone())

    def remove(self, selection: Selection) -> Amount:
        """Remove a selection with its scores and media, give the room back, and return how much was removed."""
        selected = self.amount(selection)
        where, values = self._where(selection)
        with self._readable_errors():
            removed = 0
            while chunk := self._remove_some(where, values):
                removed += chunk
            while not self._journal.remove_unused():
                pass
            self._journal.give_back()
        return Amount(removed, selected.sessions)

    def _remove_some(self, where: str, values: dict[str, Any]) -> int:
        with self._journal.transaction() as db:
            rows = db.execute(f"SELECT id, trace_id FROM spans WHERE {where} LIMIT {CHUNK}", values).fetchall()
            ids = {"ids": json.dumps([row[0] for row in rows])}
            chosen = "id IN (SELECT value FROM json_each(:ids))"
            # A running process tells its application that these are lost.
            owed = f"SELECT writer, count(*) FROM spans WHERE {OWED} AND {chosen} GROUP BY writer"
            for writer, count in db.execute(owed, ids).fetchall():
                db.execute("UPDATE writers SET evicted = evicted + ? WHERE id = ?", (count, writer))
            self._journal.remove(db, [row[0] for row in rows])
            _remove_scores_and_media(db, {row[1] for row in rows})
        return len(rows)

    def _where(self, selection: Selection) -> tuple[str, dict[str, Any]]:
        where, values = _where(selection)
        return (f"{where} AND NOT {_AWAITED}" if self._forwards and not selection.owed else where), values

    # -- destinations

    def waiting_for(self, address: str) -> int:
        """Return how many observations wait for a destination, or were refused by it."""
        if not self._forwards:
            return 0
        statement = f"SELECT count(*) FROM forwards WHERE state != {FORWARDED} AND {_AT}"
        with self._readable_errors():
            return int(self._journal.query(statement, {"address": address})[0][0])

    def forget(self, address: str, *, keep_delivered: bool) -> None:
        """Forget what waits for a destination; what Langfuse has and nobody else waits for is removed."""
        values = {"address": address}
        with self._readable_errors(), self._journal.transaction() as db:
            chosen = f"SELECT row FROM forwards WHERE state != {FORWARDED} AND {_AT}"
            ids = [row[0] for row in db.execute(chosen, values)]
            db.execute(f"DELETE FROM forwards WHERE state != {FORWARDED} AND {_AT}", values)
            db.execute("DELETE FROM companions WHERE -id NOT IN (SELECT row FROM forwards WHERE state = 0)")
            if not keep_delivered:
                remaining = (
                    f"SELECT id FROM spans WHERE state = {DELIVERED} AND id IN (SELECT value FROM json_each(?)) "
                )
                remaining += f"AND id NOT IN (SELECT row FROM forwards WHERE state != {FORWARDED})"
                self._journal.remove(db, [row[0] for row in db.execute(remaining, (json.dumps(ids),)).fetchall()])

    @contextmanager
    def _readable_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalUnreadable(str(self._path), str(error)) from error

    def __enter__(self) -> Pruning:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()


def _remove_scores_and_media(db: sqlite3.Connection, trace_ids: set[str]) -> None:
    """Remove scores and media of traces and sessions that have no row left, unless they are owed."""
    traces = {"traces": json.dumps(sorted(trace_ids))}
    for table in ("scores", "media_uses"):
        db.execute(
            f"DELETE FROM {table} WHERE NOT {OWED} AND trace_id IN (SELECT value FROM json_each(:traces)) "
            "AND NOT EXISTS (SELECT 1 FROM spans WHERE spans.trace_id = " + table + ".trace_id)",
            traces,
        )
    db.execute(
        f"DELETE FROM scores WHERE NOT {OWED} AND session_id IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM spans WHERE spans.session_id = scores.session_id)"
    )
    db.execute("DELETE FROM media WHERE id NOT IN (SELECT media_id FROM media_uses)")


def before(age_s: float) -> int:
    """Return the time *age_s* seconds ago, in ns since 1970, and not before."""
    return int(max(time.time() - age_s, 0) * 1e9)


def _where(selection: Selection) -> tuple[str, dict[str, Any]]:
    conditions = ["1"]
    values: dict[str, Any] = {}
    if selection.ended_before_ns is not None:
        conditions.append("ended_ns < :before")
        conditions.append("trace_id NOT IN (SELECT trace_id FROM spans WHERE ended_ns >= :before)")
        values["before"] = selection.ended_before_ns
    if selection.session_ids:
        names = {f"session{place}": session for place, session in enumerate(selection.session_ids)}
        conditions.append(f"session_id IN ({', '.join(':' + name for name in names)})")
        values.update(names)
    if selection.delivered_only:
        conditions.append(f"state = {DELIVERED}")
    if not selection.owed:
        conditions.append(f"NOT {OWED}")
    return " AND ".join(conditions), values

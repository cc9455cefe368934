"""The first question, the last answer and the tags of a session, for lists."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..encoding.attributes import TRACE_TAGS
from .archive import Archive
from .conditions import of_session
from .conversation import exchange_of
from .replay import Observed, Trace

_FIRST = "ORDER BY started_ns, ended_ns DESC, id LIMIT 1"


class SessionWords(NamedTuple):
    """What a session is about; empty where nothing of it is recorded."""

    question: str
    answer: str
    tags: tuple[str, ...]


def words_of(archive: Archive, session_id: str | None) -> SessionWords:
    """Return what a session begins and ends with, read from the first rows of its first and of its last trace."""
    where, values = of_session(session_id)
    first = _row(archive, f"{where} {_FIRST}", values) or next(iter(archive.open_in(session_id)), None)
    newest = archive.query(f"SELECT trace_id FROM spans WHERE {where} ORDER BY started_ns DESC LIMIT 1", values)
    last = (
        _row(archive, f"{where} AND trace_id = :trace {_FIRST}", {**values, "trace": newest[0][0]}) if newest else None
    )
    tags = [tag for each in (first, last) if each is not None for tag in each.attributes.get(TRACE_TAGS) or ()]
    question = exchange_of(Trace([first])).question if first is not None else None
    answer = exchange_of(Trace([last])).answer if last is not None else None
    return SessionWords(question or "", answer or "", tuple(dict.fromkeys(map(str, tags))))


def _row(archive: Archive, condition: str, values: dict[str, Any]) -> Observed | None:
    numbers = archive.query(f"SELECT id FROM spans WHERE {condition}", values)
    return next(iter(archive.selected("id = :id", {"id": numbers[0][0]})), None) if numbers else None

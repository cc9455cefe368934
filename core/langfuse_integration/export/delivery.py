"""The courier: takes rows from a journal to Langfuse, and settles what becomes of each."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable

from ..encoding.attributes import iso
from ..internals.faults import report
from ..journal.journal import Batch, Journal
from ..journal.scores_and_media import Extras, WaitingScore, WaitingUse
from ..settings import Settings
from .http import Answer, Post, Unreachable
from .response import TAKEN, Judgement, Outcome, judged, unreached, upload_url

BATCH_ROWS = 1024
BATCH_BYTES = 1024 * 1024
"""Of bodies before compression: Langfuse takes more, but larger pieces hold the interpreter lock for longer."""
SCORES = 50

Settled = Callable[[int, int], None]
"""Told of a writer, and how many of its rows."""


class Delivery:
    """Delivers from journals to one Langfuse project, one request after the other. For one thread.

    Args:
        delivered, refused: told what became of rows.
    """

    def __init__(self, settings: Settings, delivered: Settled, refused: Settled) -> None:
        self._settings = settings
        self._keep = settings.keep_delivered
        self._delivered = delivered
        self._refused = refused
        self._largest = min(settings.flush_at or BATCH_ROWS, BATCH_ROWS)
        self._rows = self._largest
        self._environment = settings.environment
        self.post = Post(settings)
        self._owed: list[tuple[Journal, list[int]]] = []

    # -- observations

    def spans(self, journal: Journal, writer: int, session_id: str | None = None) -> Judgement | None:
        """Deliver one batch of *writer*'s; None when there is none, else what the last answer means."""
        batch = journal.next_batch(writer, self._rows, BATCH_BYTES, session_id)
        if batch is None:
            return None
        verdict = self._carry(journal, batch)
        if verdict.fate is Outcome.TAKEN:
            self._rows = min(self._rows * 2, self._largest)
        elif verdict.smaller:
            self._rows = max(len(batch.ids) // 2, 1)
        return verdict

    def _carry(self, journal: Journal, batch: Batch) -> Judgement:
        verdict = self._asked(lambda: self.post.spans(batch.body))
        if verdict.fate is Outcome.TAKEN:
            self._settle(journal, batch, None)
            self._delivered(batch.writer, len(batch.ids))
        elif verdict.fate is Outcome.DIVIDE:
            if len(batch.ids) == 1:
                return self._refuse(journal, batch, verdict)
            for half in batch.halves():
                verdict = self._carry(journal, half)
                if verdict.fate is not Outcome.TAKEN:
                    return verdict
        return verdict

    def _refuse(self, journal: Journal, batch: Batch, verdict: Judgement) -> Judgement:
        """Set one row aside; but not on the word of a server that takes nothing at all.

        Asked anew for each row: a proxy may begin to refuse everything at any time.
        """
        probe = self._asked(lambda: self.post.spans(b""))
        if probe.fate is not Outcome.TAKEN:
            return (
                probe if probe.fate is Outcome.WAIT else Judgement(Outcome.WAIT, f"{verdict.reason}, whatever is sent")
            )
        self._settle(journal, batch, verdict.reason)
        self._refused(batch.writer, 1)
        return TAKEN

    def _settle(self, journal: Journal, batch: Batch, refused: str | None) -> None:
        try:
            if refused is not None:
                journal.set_aside(batch.ids, refused)
            else:
                journal.acknowledge(batch.ids, self._keep)
            while self._owed:
                owing, ids = self._owed[-1]
                owing.acknowledge(ids, self._keep)
                self._owed.pop()
        except (sqlite3.Error, OSError) as error:
            report("removing what was delivered from the journal", error)
            journal.skip(batch.writer, batch.ids[-1])  # a full disk: it is not sent again and again
            self._owed.append((journal, batch.ids))

    # -- scores

    def scores(self, extras: Extras, writer: int) -> Judgement | None:
        """Deliver some scores of *writer*'s; None when there are none, else what the last answer means."""
        waiting = extras.scores(writer, SCORES)
        return self._score(extras, waiting) if waiting else None

    def _score(self, extras: Extras, scores: list[WaitingScore]) -> Judgement:
        plain = [self._plain(score) for score in scores]
        verdict = self._asked(lambda: self.post.json("POST", "/api/public/scores", _json(plain)))
        if verdict.fate is Outcome.DIVIDE and len(scores) > 1:
            for half in (scores[: len(scores) // 2], scores[len(scores) // 2 :]):
                verdict = self._score(extras, half)
                if verdict.fate is not Outcome.TAKEN:
                    return verdict
            return verdict
        if verdict.fate is Outcome.DIVIDE:  # servers before 4.16 take one at a time, and no list
            verdict = self._asked(lambda: self.post.json("POST", "/api/public/scores", _json(plain[0])))
        if verdict.fate is not Outcome.WAIT:
            extras.settle_scores([score.id for score in scores], self._keep, verdict.reason or None)
            return TAKEN
        return verdict

    def _plain(self, score: WaitingScore) -> dict[str, object]:
        found = {
            "id": score.id,
            "traceId": score.trace_id,
            "observationId": score.span_id or None,
            "name": score.name,
            "value": score.value,
            "dataType": score.data_type,
            "comment": score.comment,
            "environment": self._environment,
            "timestamp": iso(score.at_ns),
        }
        return {key: value for key, value in found.items() if value is not None}

    # -- media

    def media(self, extras: Extras, writer: int) -> Judgement | None:
        """Deliver one medium of *writer*'s; None when there is none, else what the last answer means."""
        waiting = extras.uses(writer, 1)
        if not waiting:
            return None
        use = waiting[0]
        verdict = self._upload(extras, use)
        if verdict.fate is not Outcome.WAIT:
            extras.settle_use(use, self._keep, verdict.reason or None)
            return TAKEN
        return verdict

    def _upload(self, extras: Extras, use: WaitingUse) -> Judgement:
        """Announce a medium, put it where Langfuse says unless it is there already, and say how that went."""
        announced = {
            "traceId": use.trace_id,
            "observationId": use.span_id,
            "contentType": use.content_type,
            "contentLength": use.size_bytes,
            "sha256Hash": use.sha256,
            "field": use.field,
        }
        said: list[Answer] = []
        verdict = self._asked(lambda: self.post.json("POST", "/api/public/media", _json(announced)), said.append)
        url = upload_url(said[0]) if verdict.fate is Outcome.TAKEN else None
        if url is None:  # refused, or known already
            return verdict
        headers = {"Content-Type": use.content_type}
        if "storage.googleapis.com" not in url:  # which refuses headers that it does not know
            headers |= {"x-ms-blob-type": "BlockBlob", "x-amz-checksum-sha256": use.sha256}
        began = time.monotonic()
        try:
            status = self.post.put(url, extras.body(use.media_id), headers).status
        except Unreachable as error:
            return Judgement(Outcome.WAIT, f"the storage for media: {error}")
        if not 200 <= status < 300:  # the address is good for this one time: the next attempt asks for another
            return Judgement(Outcome.WAIT, f"the storage for media answers HTTP {status}")
        done = {
            "uploadedAt": iso(time.time_ns()),
            "uploadHttpStatus": status,
            "uploadTimeMs": int((time.monotonic() - began) * 1000),
        }
        return self._asked(lambda: self.post.json("PATCH", f"/api/public/media/{use.media_id}", _json(done)))

    def extras(self, extras: Extras, writers: Iterable[int]) -> Judgement | None:
        """Deliver all scores and media of *writers*; None when it is done, else what has to wait, and why."""
        for writer in writers:
            for some in (self.scores, self.media):
                while (verdict := some(extras, writer)) is not None:
                    if verdict.fate is Outcome.WAIT:
                        return verdict
        return None

    # -- all

    def _asked(self, ask: Callable[[], Answer], heard: Callable[[Answer], None] | None = None) -> Judgement:
        try:
            answer = ask()
        except Unreachable as error:
            return unreached(error)
        if heard is not None:
            heard(answer)
        return judged(answer, self._settings)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()

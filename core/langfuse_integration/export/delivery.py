"""Delivery: sends waiting rows of a journal to Langfuse, and records the result of each."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable

from ..encoding.attributes import iso
from ..internals.faults import logger, report, warn_once
from ..journal.journal import Batch, Journal
from ..journal.scores_and_media import ScoresAndMedia, WaitingScore, WaitingUse
from ..settings import Settings
from .exchange import HttpResponse, Unreachable
from .http import LangfuseHttp
from .response import TAKEN, DeliveryResult, Outcome, judge_failure, judge_response, upload_url

BATCH_ROWS = 1024
BATCH_BYTES = 1024 * 1024
"""Bodies of one request, before compression: Langfuse accepts more, but more would hold the interpreter lock longer."""
SCORES_PER_REQUEST = 50

CountRows = Callable[[int, int], None]
"""Called with a writer and the number of its rows that were settled."""


class Delivery:
    """Delivers from journals to one Langfuse project, one request after the other. For one thread.

    Args:
        delivered, refused: called for rows that Langfuse accepted, and for rows that it refused.

    Attributes:
        keep: what is delivered stays in the journal, marked as delivered.
    """

    def __init__(self, settings: Settings, delivered: CountRows, refused: CountRows) -> None:
        self._settings = settings
        self.keep = settings.keep_delivered
        self._delivered = delivered
        self._refused = refused
        self._max_rows = min(settings.flush_at or BATCH_ROWS, BATCH_ROWS)
        self._rows = self._max_rows
        self._environment = settings.environment
        self.http = LangfuseHttp(settings)
        self._unsettled: list[tuple[Journal, Batch]] = []

    # -- observations

    def spans(self, journal: Journal, writer: int, session_id: str | None = None) -> DeliveryResult | None:
        """Deliver one batch of *writer*; return the last request's result, or None if no row waits."""
        batch = journal.next_batch(writer, self._rows, BATCH_BYTES, session_id)
        if batch is None:
            return None
        result = self._send(journal, batch)
        if result.outcome is Outcome.TAKEN:
            self._rows = min(self._rows * 2, self._max_rows)
        elif result.smaller:
            self._rows = max(len(batch.ids) // 2, 1)
        return result

    def _send(self, journal: Journal, batch: Batch) -> DeliveryResult:
        result = self._request(lambda: self.http.spans(batch.body))
        if result.outcome is Outcome.TAKEN:
            self._taken(journal, batch)
        elif result.outcome is Outcome.DIVIDE:
            if len(batch.ids) == 1:
                return self._refuse(journal, batch, result)
            for half in batch.halves():
                result = self._send(journal, half)
                if result.outcome is not Outcome.TAKEN:
                    return result
        return result

    def _taken(self, journal: Journal, batch: Batch) -> None:
        self._settle(journal, batch, None)
        logger().debug("Observations that Langfuse has taken: %d", len(batch.ids))
        self._delivered(batch.writer, len(batch.ids))

    def _refuse(self, journal: Journal, batch: Batch, result: DeliveryResult) -> DeliveryResult:
        """Set one row aside if the server refuses it again after it has taken an empty request.

        The empty request is sent for each row: a proxy may begin to refuse everything at any time. The row is sent
        again since the proxy may have gone on meanwhile.
        """
        probe = self._request(lambda: self.http.spans(b""))
        if probe.outcome is not Outcome.TAKEN:
            return (
                probe
                if probe.outcome is Outcome.WAIT
                else DeliveryResult(Outcome.WAIT, f"{result.reason}, whatever is sent")
            )
        result = self._request(lambda: self.http.spans(batch.body))
        if result.outcome is not Outcome.DIVIDE:
            if result.outcome is Outcome.TAKEN:
                self._taken(journal, batch)
            return result
        self._settle(journal, batch, result.reason)
        self._refused(batch.writer, 1)
        warn_once(
            f"refused {result.reason}",
            "Langfuse has refused an observation (%s): it is set aside in the journal, and so are others like it; "
            "`langfuse-integration doctor` counts them",
            result.reason,
        )
        return TAKEN

    def _settle(self, journal: Journal, batch: Batch, refused: str | None) -> None:
        try:
            if refused is not None:
                journal.set_aside(batch.ids, refused)
            else:
                journal.acknowledge(batch, self.keep)
            while self._unsettled:
                unsettled, delivered = self._unsettled[-1]
                unsettled.acknowledge(delivered, self.keep)
                self._unsettled.pop()
        except (sqlite3.Error, OSError) as error:
            report("removing delivered rows from the journal", error)
            journal.skip(batch.writer, batch.ids[-1])  # with a full disk these rows would be sent again and again
            self._unsettled.append((journal, batch))

    # -- scores

    def scores(self, scores_and_media: ScoresAndMedia, writer: int) -> DeliveryResult | None:
        """Deliver some scores of *writer*; return the last request's result, or None if no score waits."""
        waiting = scores_and_media.scores(writer, SCORES_PER_REQUEST)
        return self._score(scores_and_media, waiting) if waiting else None

    def _score(self, scores_and_media: ScoresAndMedia, scores: list[WaitingScore]) -> DeliveryResult:
        scores_json = [self._score_fields(score) for score in scores]
        result = self._request(lambda: self.http.json("POST", "/api/public/scores", _json(scores_json)))
        if result.outcome is Outcome.DIVIDE and len(scores) > 1:
            for half in (scores[: len(scores) // 2], scores[len(scores) // 2 :]):
                result = self._score(scores_and_media, half)
                if result.outcome is not Outcome.TAKEN:
                    return result
            return result
        if result.outcome is Outcome.DIVIDE:  # servers before 4.16 accept a single score, no list
            result = self._request(lambda: self.http.json("POST", "/api/public/scores", _json(scores_json[0])))
        if result.outcome is not Outcome.WAIT:
            scores_and_media.settle_scores([score.id for score in scores], self.keep, result.reason or None)
            return TAKEN
        return result

    def _score_fields(self, score: WaitingScore) -> dict[str, object]:
        fields = {
            "id": score.id,
            "traceId": score.trace_id or None,
            "sessionId": score.session_id,
            "observationId": score.span_id or None,
            "name": score.name,
            "value": score.value,
            "dataType": score.data_type,
            "comment": score.comment,
            "environment": self._environment,
            "timestamp": iso(score.at_ns),
            **(json.loads(score.fields) if score.fields else {}),
        }
        return {key: value for key, value in fields.items() if value is not None}

    # -- media

    def media(self, scores_and_media: ScoresAndMedia, writer: int) -> DeliveryResult | None:
        """Deliver one medium of *writer*; return the last request's result, or None if no medium waits."""
        waiting = scores_and_media.uses(writer, 1)
        if not waiting:
            return None
        use = waiting[0]
        result = self._upload(scores_and_media, use)
        if result.outcome is not Outcome.WAIT:
            scores_and_media.settle_use(use, self.keep, result.reason or None)
            return TAKEN
        return result

    def _upload(self, scores_and_media: ScoresAndMedia, use: WaitingUse) -> DeliveryResult:
        """Announce a medium, upload it unless Langfuse has it already, and report the upload."""
        announcement = {
            "traceId": use.trace_id,
            "observationId": use.span_id,
            "contentType": use.content_type,
            "contentLength": use.size_bytes,
            "sha256Hash": use.sha256,
            "field": use.field,
        }
        responses: list[HttpResponse] = []
        result = self._request(
            lambda: self.http.json("POST", "/api/public/media", _json(announcement)), responses.append
        )
        url = upload_url(responses[0]) if result.outcome is Outcome.TAKEN else None
        if url is None:  # refused, or Langfuse has it already
            return result
        headers = {"Content-Type": use.content_type}
        if "storage.googleapis.com" not in url:  # it refuses unknown headers
            headers |= {"x-ms-blob-type": "BlockBlob", "x-amz-checksum-sha256": use.sha256}
        started = time.monotonic()
        try:
            status = self.http.put(url, scores_and_media.body(use.media_id), headers).status
        except Unreachable as error:
            return DeliveryResult(Outcome.WAIT, f"the storage for media: {error}")
        if not 200 <= status < 300:  # an address is valid once: the next attempt gets another one
            return DeliveryResult(Outcome.WAIT, f"the storage for media answers HTTP {status}")
        report_of_upload = {
            "uploadedAt": iso(time.time_ns()),
            "uploadHttpStatus": status,
            "uploadTimeMs": int((time.monotonic() - started) * 1000),
        }
        return self._request(
            lambda: self.http.json("PATCH", f"/api/public/media/{use.media_id}", _json(report_of_upload))
        )

    def scores_and_media(self, waiting: ScoresAndMedia, writers: Iterable[int]) -> DeliveryResult | None:
        """Deliver all scores and media of *writers*; return None when done, else the result that says why they wait."""
        for writer in writers:
            for deliver in (self.scores, self.media):
                while (result := deliver(waiting, writer)) is not None:
                    if result.outcome is Outcome.WAIT:
                        return result
        return None

    # -- requests

    def _request(
        self, request: Callable[[], HttpResponse], on_response: Callable[[HttpResponse], None] | None = None
    ) -> DeliveryResult:
        try:
            response = request()
        except Unreachable as error:
            return judge_failure(error)
        if on_response is not None:
            on_response(response)
        return judge_response(response, self._settings)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()

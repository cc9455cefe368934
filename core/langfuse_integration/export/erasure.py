"""Erasure: tells Langfuse to delete the traces of a user or a session.

Langfuse deletes whole traces, some time after it has been told. Traces are looked up by the observations of the user or
session (Langfuse 4), or where that is unknown by the traces themselves (Langfuse 3).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from ..journal.forgetting import Erasure, Subject, settle_erasure, waiting_erasures
from ..journal.journal import Journal
from ..settings import Settings
from .exchange import HttpResponse, Unreachable
from .http import LangfuseHttp
from .response import TAKEN, DeliveryResult, Outcome, judge_failure, judge_response

TRACES_PER_REQUEST = 100
PAGES_LIMIT = 10_000


class _Failed(Exception):
    """A request that was not accepted."""

    def __init__(self, result: DeliveryResult) -> None:
        super().__init__(result.reason)
        self.result = result


def erase(http: LangfuseHttp, settings: Settings, erasure: Erasure) -> tuple[DeliveryResult, int]:
    """Tell Langfuse to delete; return the result, and how many traces were named."""
    eraser = _Eraser(http, settings)
    try:
        trace_ids = sorted({*erasure.trace_ids, *eraser.traces(erasure.subject)})
        for start in range(0, len(trace_ids), TRACES_PER_REQUEST):
            eraser.delete(trace_ids[start : start + TRACES_PER_REQUEST])
    except _Failed as failure:
        return failure.result, 0
    return TAKEN, len(trace_ids)


def erase_waiting(http: LangfuseHttp, settings: Settings, journal: Journal, destination: str) -> DeliveryResult | None:
    """Tell Langfuse of all that waits; return None when done, else the result that says why it waits."""
    for erasure in waiting_erasures(journal, destination):
        result, _ = erase(http, settings, erasure)
        if result.outcome is not Outcome.TAKEN:
            return result
        settle_erasure(journal, erasure)
    return None


class _Eraser:
    def __init__(self, http: LangfuseHttp, settings: Settings) -> None:
        self._http = http
        self._settings = settings

    def traces(self, subject: Subject) -> set[str]:
        """Return the ids of all traces of *subject* that Langfuse has."""
        filters = {"userId": subject.user_id, "sessionId": subject.session_id}
        query: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        try:
            return self._by_observations(query)
        except _Failed as failure:
            if "HTTP 404" not in failure.result.reason and "HTTP 400" not in failure.result.reason:
                raise
        return self._by_traces(query)

    def delete(self, trace_ids: list[str]) -> None:
        """Tell Langfuse to delete some traces."""
        body = json.dumps({"traceIds": trace_ids}).encode()
        self._accepted(lambda: self._http.json("DELETE", "/api/public/traces", body))

    def _by_observations(self, query: dict[str, Any]) -> set[str]:
        traces: set[str] = set()
        page = {**query, "fields": "core", "limit": 1000}
        for _ in range(PAGES_LIMIT):
            content = self._get("/api/public/v2/observations", page)
            traces.update(row["traceId"] for row in content["data"])
            cursor = content.get("meta", {}).get("cursor")
            if not cursor:
                break
            page["cursor"] = cursor
        return traces

    def _by_traces(self, query: dict[str, Any]) -> set[str]:
        traces: set[str] = set()
        for number in range(1, PAGES_LIMIT):
            content = self._get("/api/public/traces", {**query, "limit": 100, "page": number})
            traces.update(row["id"] for row in content["data"])
            if number >= content["meta"]["totalPages"]:
                break
        return traces

    def _get(self, path: str, query: dict[str, Any]) -> Any:
        return json.loads(self._accepted(lambda: self._http.send("GET", f"{path}?{urlencode(query)}", b"", {})).body)

    def _accepted(self, request: Callable[[], HttpResponse]) -> HttpResponse:
        try:
            response = request()
        except Unreachable as error:
            raise _Failed(judge_failure(error)) from None
        result = judge_response(response, self._settings)
        if result.outcome is not Outcome.TAKEN:
            raise _Failed(result._replace(outcome=Outcome.WAIT, needs_user_action=True))
        return response

"""Scores of a Langfuse client, through our journal: its own queue drops them in an outage or a kill."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..internals.faults import shielded
from ..recording import tracing
from ..recording.score import Score
from ..settings import settings
from . import private, sdk_clients

_SCORING = shielded("recording a score of Langfuse's client")
_TRACE_ID, _SPAN_ID = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{16}")
_OURS = ("id", "traceId", "observationId", "sessionId", "name", "value", "comment", "timestamp")


def take_scores(client: Any, ours: object) -> None:
    """Take the scores of a client, as long as it is a plain one; else they go the client's own way.

    Args:
        client: its resource manager.
        ours: our own tracer provider.
    """

    def take(body: Mapping[str, Any]) -> bool:
        with _SCORING:
            if not tracing.recorder.enabled or not sdk_clients.is_plain(client, settings(), ours):
                return False
            return record(body)
        return False

    private.divert_scores(client, take)


def record(body: Mapping[str, Any]) -> bool:
    """Record a score as a client would send it; False when it is for a trace whose id is not OpenTelemetry's.

    Args:
        body: the score, keyed by API field names.
    """
    trace_id, span_id = body.get("traceId") or "", body.get("observationId") or ""
    if (trace_id and not _TRACE_ID.fullmatch(trace_id)) or (span_id and not _SPAN_ID.fullmatch(span_id)):
        return False
    ids = int(trace_id or "0", 16), int(span_id or "0", 16)
    score = Score(*ids, body["name"], body["value"], body.get("comment"), body.get("sessionId"))
    score.id = body.get("id") or score.id
    score.at_ns = _ns(body.get("timestamp"))
    score.fields = {key: value for key, value in body.items() if key not in _OURS and value is not None} or None
    tracing.recorder.score(score)
    return True


def _ns(timestamp: Any) -> int:
    """Return a time of the SDK in ns, or the time now."""
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp)
    return int(timestamp.timestamp() * 1e6) * 1000 if isinstance(timestamp, datetime) else time.time_ns()

"""What an answer of Langfuse means for what was sent, in words that say what to do."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ..settings import Settings
from .http import Answer, Unreachable, address_of

LONGEST_WAIT_S = 3600.0
"""What a server may ask for by Retry-After."""


class Outcome(Enum):
    """What becomes of a batch."""

    TAKEN = "taken"
    DIVIDE = "divide"
    """Something in it is refused: find out what, by halves."""
    WAIT = "wait"
    """Send it again later."""


class Judgement(NamedTuple):
    """What an answer means.

    Attributes:
        reason: for the log, and for what is set aside.
        wait_s: what the server asked for, or None.
        smaller: less at once may go through.
        needs_user_action: waiting alone will not cure it, somebody has to change something.
    """

    fate: Outcome
    reason: str = ""
    wait_s: float | None = None
    smaller: bool = False
    needs_user_action: bool = False


TAKEN = Judgement(Outcome.TAKEN)


def judged(answer: Answer, settings: Settings) -> Judgement:
    """Return what *answer* means."""
    status = answer.status
    if 200 <= status < 300:
        rejected = _rejected(answer)
        return Judgement(Outcome.DIVIDE, rejected) if rejected else TAKEN
    said = _said(answer)
    reason = f"HTTP {status}{said}"
    if status in (400, 413, 422):
        return Judgement(Outcome.DIVIDE, reason)
    if 300 <= status < 400:
        there = address_of(answer.headers.get("location", "elsewhere"))
        return Judgement(
            Outcome.WAIT,
            f"{reason}: it redirects to {there}; set LANGFUSE_BASE_URL to where Langfuse is",
            needs_user_action=True,
        )
    if status in (401, 403):
        return Judgement(Outcome.WAIT, f"{reason}: {advice(status, settings)}", needs_user_action=True)
    if status in (404, 405, 410, 501):
        return Judgement(
            Outcome.WAIT, f"{reason}: there is no Langfuse; check LANGFUSE_BASE_URL", needs_user_action=True
        )
    return Judgement(
        Outcome.WAIT,
        reason,
        _asked(answer),
        smaller=status in (408, 504),
        needs_user_action=status < 429 and status != 408,
    )


def unreached(error: Unreachable) -> Judgement:
    """Return what it means that no answer came."""
    reason = str(error)
    late = reason == "no answer in time"
    return Judgement(
        Outcome.WAIT,
        reason if late else f"{reason}; check LANGFUSE_BASE_URL if it stays so",
        smaller=late,
        needs_user_action=not late,
    )


def advice(status: int, settings: Settings) -> str:
    """Return which variable is wrong, as far as it can be told without showing a key."""
    public = settings.public_key or ""
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if public.startswith("sk-") and secret.startswith("pk-"):
        return "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are swapped"
    for name, key, beginning in (("PUBLIC", public, "pk-lf-"), ("SECRET", secret, "sk-lf-")):
        if not key.startswith(beginning):
            return f"LANGFUSE_{name}_KEY does not begin with {beginning}"
    where = address_of(settings.base_url)
    if status == 403:
        return f"the keys LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY may not write to their project at {where}"
    return (
        f"LANGFUSE_SECRET_KEY does not go with LANGFUSE_PUBLIC_KEY, or the project of these keys is not at {where} "
        "(LANGFUSE_BASE_URL: each region of the cloud has its own)"
    )


def upload_url(answer: Answer) -> str | None:
    """Return where Langfuse wants a medium to be put; None when it has it already."""
    found = _parsed(answer.body)
    url = found.get("uploadUrl") if isinstance(found, dict) else None
    return url if isinstance(url, str) and url else None


def _rejected(answer: Answer) -> str:
    """Return why an answer of 2xx took only a part (OTLP's partial success, or a 207 of the scores), or nothing."""
    if not answer.body:
        return ""
    try:
        if "protobuf" in answer.headers.get("content-type", ""):
            partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
            return f"rejected: {partial.error_message or 'no reason given'}" if partial.rejected_spans else ""
        found: Any = _parsed(answer.body)
        if not isinstance(found, dict):
            return ""
        partly = found.get("partialSuccess")
        if isinstance(partly, dict) and int(partly.get("rejectedSpans") or 0):
            return f"rejected: {partly.get('errorMessage') or 'no reason given'}"
        if answer.status == 207 and found.get("errors"):
            return f"rejected: {str(found['errors'])[:200]}"
    except Exception:  # noqa: BLE001  a server that took it, and said so in a way that cannot be read
        return ""
    return ""


def _said(answer: Answer) -> str:
    """Return the message of an error answer, if it has one that can be read."""
    found = _parsed(answer.body)
    message = found.get("message") or found.get("error") if isinstance(found, dict) else None
    return f" ({message[:200]})" if isinstance(message, str) and message.isprintable() else ""


def _parsed(body: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _asked(answer: Answer) -> float | None:
    """Return the seconds that Retry-After asks for: a number, or a date."""
    text = answer.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        wait_s = (
            float(text) if text.replace(".", "", 1).isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)

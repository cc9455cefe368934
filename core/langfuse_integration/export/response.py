"""The meaning of a response: delivered, refused or to be retried, and the cure for the user."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any, NamedTuple

from ..settings import Settings, address_of
from .exchange import UNTRUSTED, HttpResponse, Unreachable

MAX_RETRY_AFTER_S = 3600.0
"""The longest pause that a server may ask for by Retry-After."""

OUT_OF_DATE = ("expired", "not yet valid")
"""What OpenSSL says of a certificate when the certificate, or this machine's clock, is out of date."""


class Outcome(Enum):
    """The result for a batch."""

    TAKEN = "taken"
    DIVIDE = "divide"
    """Langfuse refuses a part of the batch: send each half alone to find it."""
    WAIT = "wait"
    """Send the batch again later."""


class DeliveryResult(NamedTuple):
    """The result of one request.

    Attributes:
        reason: the text for the log, and for rows that are set aside.
        wait_s: seconds that the server asked to wait, or None.
        smaller: whether a smaller batch may succeed.
        needs_user_action: whether retrying cannot help until somebody changes a setting or the network.
    """

    outcome: Outcome
    reason: str = ""
    wait_s: float | None = None
    smaller: bool = False
    needs_user_action: bool = False


TAKEN = DeliveryResult(Outcome.TAKEN)


def judge_response(response: HttpResponse, settings: Settings) -> DeliveryResult:
    """Return the result of a request from its response."""
    status = response.status
    if 200 <= status < 300:
        rejected = _rejected(response)
        return DeliveryResult(Outcome.DIVIDE, rejected) if rejected else TAKEN
    reason = f"HTTP {status}{_error_message(response)}"
    if status in (400, 413, 422):
        return DeliveryResult(Outcome.DIVIDE, reason)
    if 300 <= status < 400:
        location = address_of(response.headers.get("location", "elsewhere"))
        return DeliveryResult(
            Outcome.WAIT,
            f"{reason}: it redirects to {location}; set LANGFUSE_BASE_URL to where Langfuse is",
            needs_user_action=True,
        )
    if status in (401, 403):
        return DeliveryResult(Outcome.WAIT, f"{reason}: {advice(status, settings)}", needs_user_action=True)
    if status in (404, 405, 410, 501):
        return DeliveryResult(
            Outcome.WAIT, f"{reason}: there is no Langfuse; check LANGFUSE_BASE_URL", needs_user_action=True
        )
    return DeliveryResult(
        Outcome.WAIT,
        reason,
        _retry_after_s(response),
        smaller=status in (408, 504),
        needs_user_action=status < 429 and status != 408,
    )


def judge_otlp(response: HttpResponse, row_count: int) -> tuple[DeliveryResult, int]:
    """Return the result of a request with *row_count* rows to a server that is no Langfuse, and how many it rejected.

    Rows of which some were rejected are not sent again, as OTLP demands: the others would be there twice.
    """
    status = response.status
    if 200 <= status < 300:
        if "html" in response.headers.get("content-type", ""):
            reason = f"HTTP {status} with a web page: no receiver of OTLP traces is there; check the URL"
            return DeliveryResult(Outcome.WAIT, reason, needs_user_action=True), 0
        rejected = _rejected(response)
        if not rejected:
            return TAKEN, 0
        count = rejected_spans(response)
        if count >= row_count:
            return DeliveryResult(Outcome.DIVIDE, rejected), 0
        return DeliveryResult(Outcome.TAKEN, rejected), count
    reason = f"HTTP {status}{_error_message(response)}"
    if status in (400, 413, 422):
        return DeliveryResult(Outcome.DIVIDE, reason), 0
    advice = ""
    if 300 <= status < 400:
        location = address_of(response.headers.get("location", "elsewhere"))
        advice = f": it redirects to {location}; set the URL to where the receiver is"
    elif status in (401, 403):
        advice = ": check the headers of this destination"
    elif status in (404, 405, 410, 415, 501):
        advice = ": no receiver of OTLP traces is there; check the URL"
    return DeliveryResult(
        Outcome.WAIT,
        f"{reason}{advice}",
        _retry_after_s(response),
        smaller=status in (408, 504),
        needs_user_action=status < 429 and status != 408,
    ), 0


def rejected_spans(response: HttpResponse) -> int:
    """Return how many spans a partial success rejected; 0 when the response cannot be parsed."""
    try:
        if "protobuf" in response.headers.get("content-type", ""):
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

            return int(ExportTraceServiceResponse.FromString(response.body).partial_success.rejected_spans)
        return int(_parsed(response.body)["partialSuccess"]["rejectedSpans"])
    except Exception:  # noqa: BLE001  a 2xx response that cannot be parsed still means accepted
        return 0


def judge_failure(error: Unreachable, setting: str = "LANGFUSE_BASE_URL") -> DeliveryResult:
    """Return the result of a request that got no response; *setting* is where the address comes from."""
    reason = str(error)
    timed_out = reason == "no answer in time"
    if reason.startswith(UNTRUSTED) and any(words in reason for words in OUT_OF_DATE):
        cure = f"check the clock of this machine ({time.strftime('%Y-%m-%d')}), then renew the server's certificate"
        return DeliveryResult(Outcome.WAIT, f"{reason}; {cure}", needs_user_action=True)
    if reason.startswith(UNTRUSTED):
        cure = "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a file with the certificate of the authority that issued it"
        return DeliveryResult(Outcome.WAIT, f"{reason}; {cure}", needs_user_action=True)
    return DeliveryResult(
        Outcome.WAIT,
        reason if timed_out else f"{reason}; check {setting} if it stays so",
        smaller=timed_out,
        needs_user_action=not timed_out,
    )


def advice(status: int, settings: Settings) -> str:
    """Return the setting that is probably wrong, without showing a key."""
    public = settings.public_key or ""
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    if public.startswith("sk-") and secret.startswith("pk-"):
        return "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are swapped"
    for name, key, beginning in (("PUBLIC", public, "pk-lf-"), ("SECRET", secret, "sk-lf-")):
        if not key.startswith(beginning):
            return f"LANGFUSE_{name}_KEY does not begin with {beginning}"
    address = settings.address
    if status == 403:
        return f"the keys LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY may not write to their project at {address}"
    return (
        f"LANGFUSE_SECRET_KEY does not go with LANGFUSE_PUBLIC_KEY, or the project of these keys is not at {address} "
        "(LANGFUSE_BASE_URL: each region of the cloud has its own)"
    )


def upload_url(response: HttpResponse) -> str | None:
    """Return the address to upload a medium to; None when Langfuse already has the medium."""
    content = _parsed(response.body)
    url = content.get("uploadUrl") if isinstance(content, dict) else None
    return url if isinstance(url, str) and url else None


def _rejected(response: HttpResponse) -> str:
    """Return why a 2xx response accepted only a part (OTLP's partial success, or a 207 of the scores), else ''."""
    if not response.body:
        return ""
    try:
        if "protobuf" in response.headers.get("content-type", ""):
            from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

            partial = ExportTraceServiceResponse.FromString(response.body).partial_success
            return f"rejected: {partial.error_message or 'no reason given'}" if partial.rejected_spans else ""
        content: Any = _parsed(response.body)
        if not isinstance(content, dict):
            return ""
        partial_success = content.get("partialSuccess")
        if isinstance(partial_success, dict) and int(partial_success.get("rejectedSpans") or 0):
            return f"rejected: {partial_success.get('errorMessage') or 'no reason given'}"
        if response.status == 207 and content.get("errors"):
            return f"rejected: {str(content['errors'])[:200]}"
    except Exception:  # noqa: BLE001  a 2xx response that cannot be parsed still means accepted
        return ""
    return ""


def _error_message(response: HttpResponse) -> str:
    """Return the message in an error response, in brackets after a blank; '' if there is none that is printable."""
    content = _parsed(response.body)
    message = (
        content.get("message") or content.get("error") or content.get("detail") if isinstance(content, dict) else None
    )
    return f" ({message[:200]})" if isinstance(message, str) and message.isprintable() else ""


def _parsed(body: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _retry_after_s(response: HttpResponse) -> float | None:
    """Return the seconds that Retry-After asks for: a number, or a date."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        if text.replace(".", "", 1).isdigit():
            wait_s = float(text)
        else:
            server_time = response.headers.get("date")  # our clock may be wrong
            now_s = parsedate_to_datetime(server_time).timestamp() if server_time else time.time()
            wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)

"""The end of an observation whose process ended before it did."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from ..encoding.attributes import STATUS_MESSAGE, failed_attributes
from ..encoding.row import Row, row_of

PROCESS_ENDED = "the process ended"


def ended(body: bytes, ended_ns: int) -> Row:
    """Return the row of an open observation whose process ended: level ERROR, with the attributes it had.

    One that had ended, and was only held back, is returned as it is.
    """
    request = ExportTraceServiceRequest.FromString(body)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    if span.end_time_unix_nano > span.start_time_unix_nano:
        return row_of(request)
    changes = {"langfuse.observation.level": "ERROR", STATUS_MESSAGE: PROCESS_ENDED}
    kept = [entry for entry in span.attributes if entry.key not in changes]
    changes |= failed_attributes({entry.key: entry.value.string_value for entry in kept}, PROCESS_ENDED)
    del span.attributes[:]
    span.attributes.extend(kept)
    for key, text in changes.items():
        span.attributes.add(key=key).value.string_value = text
    span.status.code = Status.STATUS_CODE_ERROR
    span.status.message = PROCESS_ENDED
    span.end_time_unix_nano = max(ended_ns, span.start_time_unix_nano)
    return row_of(request)


def opened_row(body: bytes) -> Row:
    """Return the columns of an observation that is open in the journal."""
    return row_of(ExportTraceServiceRequest.FromString(body))

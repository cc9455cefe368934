"""Exchange: one request for traces and what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from peers.server import Answer, LocalServer, Request
from peers.spans import Span, decoded, parse


@dataclass
class Exchange:
    """One request for traces. *status* is None while it waits for its answer and when it never got one."""

    request: Request
    server: LocalServer = field(repr=False)
    usual: Callable[[Exchange], Answer] = field(repr=False)
    status: int | None = None
    stored: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, names in lower case."""
        return self.request.headers

    @cached_property
    def message(self) -> ExportTraceServiceRequest:
        """The body as OTLP has it; raises ValueError when it is malformed."""
        return parse(self.request.body, self.headers.get("content-type", ""))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The spans in plain values; raises ValueError when the body is malformed."""
        return decoded(self.message)

    def accept(self) -> Answer:
        """Treat it as Langfuse does: check keys and ids, keep the spans, return the answer."""
        return self.usual(self)

    def pause(self, seconds: float) -> None:
        """Wait; raises Cut when the receiver is closed meanwhile."""
        self.server.pause(seconds)

    def wait(self, event: threading.Event) -> None:
        """Wait for *event*; raises Cut when the receiver is closed before."""
        self.server.wait(event)

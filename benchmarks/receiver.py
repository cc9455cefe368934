"""A receiver of traces that accepts everything and only counts, in a process of its own.

python -m benchmarks.receiver          prints its port
GET /counts                            {"requests": ..., "bytes": ..., "spans": ...}
"""

from __future__ import annotations

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COUNTS = {"requests": 0, "bytes": 0, "spans": 0}


class Handler(BaseHTTPRequestHandler):
    """Answers every POST with 200."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Count and accept a request."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        COUNTS["requests"] += 1
        COUNTS["bytes"] += len(body)
        if "protobuf" in self.headers.get("Content-Type", ""):
            COUNTS["spans"] += spans_in(gzip.decompress(body) if self.headers.get("Content-Encoding") else body)
        self._answer(b"" if self.path.endswith("/traces") else b"{}")

    def do_GET(self) -> None:
        """Return the counts."""
        self._answer(json.dumps(COUNTS).encode())

    def log_message(self, *values: Any) -> None:
        """Log nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if body else "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def spans_in(body: bytes) -> int:
    """Return how many spans an OTLP request holds."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def main() -> None:
    """Serve until killed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

"""What delivery costs: an application's calls while Langfuse is down, relative to while it is up; and encoding.

python -m benchmarks.delivery                    both, each in one run with its halves in turn
python -m benchmarks.delivery calls ADDRESS      the application of the first; a line on standard input starts a round
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from . import results, tables
from .processes import ROOT
from .receiver import Handler

ROUNDS = 12
CALLS = 5_000
ROWS = 512
GATE = {"open": True}


class Gate(Handler):
    """A receiver that answers 503 while the gate is closed."""

    def do_POST(self) -> None:
        """Accept or refuse a request."""
        if GATE["open"]:
            super().do_POST()
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()


def report() -> None:
    """Measure both, and print two tables."""
    print(results.machine(), flush=True)
    healthy, gone = outage()
    keys = ("p50", "p99")
    cells = [["Langfuse is there", *(tables.number(healthy[key], 1) for key in keys)]]
    cells += [["Langfuse is gone", *(tables.number(gone[key], 1) for key in keys)]]
    cells += [["gone over there", *(tables.number(gone[key] / healthy[key], 2) for key in keys)]]
    print(tables.table(["a call of the application, us", "median", "p99"], cells))
    ours, theirs = encoding()
    cells = [["a row", tables.number(ours, 2), "1.00"]]
    cells += [["a span, stock exporter", tables.number(theirs, 2), tables.number(theirs / ours, 2)]]
    print(tables.table(["encoding, us", "median", "ratio"], cells))
    results.keep("delivery", "calls and encoding", {"healthy": healthy, "gone": gone, "row": ours, "stock": theirs})


def outage() -> tuple[dict[str, float], dict[str, float]]:
    """Return medians of p50 and p99 of calls, in us: of rounds with Langfuse, and of those in between without."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "LANGFUSE_PUBLIC_KEY": "pk-lf-benchmark",
            "LANGFUSE_SECRET_KEY": "sk-lf-benchmark",
            "LANGFUSE_BASE_URL": f"http://127.0.0.1:{server.server_address[1]}",
            "LANGFUSE_INTEGRATION_JOURNAL": str(Path(folder) / "journal.sqlite3"),
        }
        command = [sys.executable, "-m", "benchmarks.delivery", "calls"]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            readings: dict[bool, list[dict[str, float]]] = {True: [], False: []}
            for number in range(2 * ROUNDS + 1):
                GATE["open"] = number % 2 == 0
                process.stdin.write("round\n")
                process.stdin.flush()
                reading = json.loads(process.stdout.readline())
                if number:  # the first one warms up
                    readings[GATE["open"]].append(reading)
            GATE["open"] = True
            process.stdin.close()
    server.shutdown()
    healthy, gone = (
        {key: median(one[key] for one in readings[there]) for key in ("p50", "p99")} for there in (True, False)
    )
    return healthy, gone


def calls() -> None:
    """Run the application: one round of calls for each input line; print how long a call took."""
    from langfuse_integration import langfuse_manager

    clock = time.perf_counter_ns
    for _ in sys.stdin:
        taken: list[int] = []
        for number in range(CALLS):
            began = clock()
            with langfuse_manager.trace_span("look_up", input={"part": number, "limit": 3}) as span:
                span.update(output={"found": 3})
            taken.append(clock() - began)
            if number % 10 == 0:
                time.sleep(0.001)
        langfuse_manager.flush(1.0)
        cuts = quantiles(taken, n=100)
        print(json.dumps({"p50": cuts[49] / 1000, "p99": cuts[98] / 1000}), flush=True)


def encoding() -> tuple[float, float]:
    """Return the CPU for one row of ours and for one span of the stock exporter, in us: the same observation."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider

    from langfuse_integration.encoding.row import Encoder
    from langfuse_integration.recording.observation import Observation
    from langfuse_integration.sessions.session import Session
    from langfuse_integration.settings import settings

    class Taken:
        """A recorder that keeps what ended."""

        def __init__(self) -> None:
            self.ended: list[Observation] = []

        def opened(self, observation: Observation) -> None:
            """Ignore the start of an observation."""

        def record(self, observation: Observation) -> None:
            """Keep *observation*."""
            self.ended.append(observation)

        def score(self, score: Any) -> None:
            """Ignore a score."""

    taken = Taken()
    session = Session("session-1", "ada", tags=["benchmark"])
    for number in range(ROWS):
        one = Observation("look_up", "tool", taken, None, (session, None), {"part": number, "limit": 3})
        one.metadata = {"step": number}
        one.finish({"found": 3})
    ours = Encoder.from_settings(settings())
    tracer = TracerProvider().get_tracer("benchmark")
    spans: list[Any] = []
    for observation in taken.ended:
        span = tracer.start_span(observation.name, attributes=ours.attributes(observation))
        span.end()
        spans.append(span)
    of_ours: list[float] = []
    of_theirs: list[float] = []
    for _ in range(3 * ROUNDS):
        began = time.process_time_ns()
        for observation in taken.ended:
            ours.row(observation)
        middle = time.process_time_ns()
        encode_spans(spans).SerializeToString()
        of_ours.append((middle - began) / ROWS / 1000)
        of_theirs.append((time.process_time_ns() - middle) / ROWS / 1000)
    return median(of_ours), median(of_theirs)


if __name__ == "__main__":
    calls() if sys.argv[1:2] == ["calls"] else report()

"""The sender: whatever Langfuse does, each observation arrives once, and what is wrong is said."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from applications import assert_once
from export.rows import record
from fresh import run_fresh
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.recording import tracing
from peers.exchange import Exchange
from peers.misbehaviour import (
    accepted,
    dropped,
    hang,
    lost_answer,
    poison,
    redirect,
    slow,
    status,
    too_large,
)
from peers.otlp import Receiver
from peers.server import Answer
from peers.tls import TlsFront
from peers.waiting import until


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [found.getMessage() for found in caplog.records if found.levelname == "WARNING"]


# -- what goes well


def test_a_request_is_what_langfuse_wants(langfuse: Receiver) -> None:
    """OTLP over HTTP: protobuf in gzip, Basic keys, and the header of Langfuse's fourth way of ingestion."""
    record("one")
    assert langfuse_manager.flush(10) == (1, 0, 0)
    (exchange,) = langfuse.requests
    headers = exchange.headers
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-langfuse-ingestion-version"] == "4"
    assert headers["x-langfuse-public-key"] == langfuse.public_key
    assert headers["authorization"].startswith("Basic ")
    assert exchange.request.size_bytes < len(exchange.request.body)


def test_one_connection_serves_all_requests(langfuse: Receiver) -> None:
    """The connection is kept alive from request to request."""
    for name in "abc":
        record(name)
        langfuse_manager.flush(10)
    assert len(langfuse.requests) == 3
    assert langfuse.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_made_anew(langfuse: Receiver) -> None:
    """A server that closed the idle connection costs no failure, and nothing comes twice."""
    ids = record("before")
    langfuse_manager.flush(10)
    with langfuse.refusing():
        pass
    ids += record("after")
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert_once(langfuse, ids)


def test_observations_are_gathered_for_one_request(langfuse: Receiver) -> None:
    """Without a flush, what ends within the interval goes together."""
    configure(flush_interval_s=1.0)
    ids = [identity for name in "abcde" for identity in record(name)]
    langfuse.wait_for(5)
    assert_once(langfuse, ids)
    assert len(langfuse.requests) <= 2


def test_flush_at_bounds_a_request_and_sends_at_once(langfuse: Receiver) -> None:
    """LANGFUSE_FLUSH_AT observations are sent without waiting for the interval, and never more in one request."""
    configure(flush_at=4, flush_interval_s=60)
    ids = record(*"abcdefghij")
    langfuse.wait_for(10)
    assert_once(langfuse, ids)
    assert max(len(exchange.spans) for exchange in langfuse.requests) == 4


def test_debugging_logs_what_is_taken_and_each_failed_attempt(langfuse: Receiver) -> None:
    """LANGFUSE_DEBUG=true says what a server took, and each attempt that failed; else nothing is said of success."""
    code = """
        from langfuse_integration import langfuse_manager
        with langfuse_manager.trace_span("one"):
            pass
        langfuse_manager.flush(30)
    """
    langfuse.script(status(503))
    said = run_fresh(code, {**langfuse.environment(), "LANGFUSE_DEBUG": "true"})
    assert "DEBUG: Langfuse at http" in said
    assert "HTTP 503" in said
    assert "; the next attempt is in" in said
    assert said.count("DEBUG: Observations that Langfuse has taken: 1") == 1
    assert "DEBUG" not in run_fresh(code, langfuse.environment())


# -- what goes wrong for a while


FAILURES: dict[str, Callable[[Exchange], Answer]] = {
    "408": status(408),
    "429": status(429),
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "504": status(504),
    "dropped": dropped(),
    "lost answer": lost_answer(),
    "401": status(401),
    "403": status(403),
    "404": status(404),
    "418": status(418),
    "redirect": redirect("https://eu.example.org/elsewhere"),
    "hang": hang(),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_that_passes_loses_and_doubles_nothing(langfuse: Receiver, failure: str) -> None:
    """After each kind of failure everything is pending, and once it is over everything arrives whole."""
    configure(timeout_s=0.3 if failure == "hang" else 30)
    langfuse.always(FAILURES[failure])
    ids = record("a", "b", "c")
    began = time.monotonic()
    assert langfuse_manager.flush(0.6) == (0, 3, 0)
    assert time.monotonic() - began < 30, "a flush waits longer than it was given"
    langfuse.always(None)
    ids += record("d")
    assert langfuse_manager.flush(20) == (4, 0, 0)
    came = {span.span_id: (span.name, span.input) for span in langfuse.spans}
    assert came == {identity: (name, f"input of {name}") for identity, name in zip(ids, "abcd", strict=True)}
    # There the server has it already, or is given up early, and gets the same whole rows again.
    if failure not in ("lost answer", "hang"):
        assert langfuse.doubled() == {}


def test_an_answer_that_breaks_off_after_its_head_counts(langfuse: Receiver) -> None:
    """The status says that Langfuse has it: it is not sent again, and the next request has a connection of its own."""
    langfuse.script(lost_answer(cut_after_bytes=10))
    ids = record("a", "b")
    assert langfuse_manager.flush(10) == (2, 0, 0)
    ids += record("c")
    assert langfuse_manager.flush(10) == (3, 0, 0)
    assert_once(langfuse, ids)
    assert langfuse.connections == 2


def test_a_refused_connection_loses_nothing(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """While nobody listens everything waits, and one warning says so."""
    langfuse.refuse()
    ids = record("a")
    for _ in range(3):
        assert langfuse_manager.flush(0.2) == (0, 1, 0)
    langfuse.listen()
    ids += record("b")
    assert langfuse_manager.flush(20) == (2, 0, 0)
    assert_once(langfuse, ids)
    (warning,) = warnings_of(caplog)
    assert "connection refused" in warning
    assert "They wait in the journal" in warning


def test_a_name_that_cannot_be_resolved_is_said(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """DNS fails: everything waits, and the warning names the variable."""
    configure(base_url="http://nowhere.invalid:3000", exit_timeout_s=0.1)
    record("a")
    assert langfuse_manager.flush(1) == (0, 1, 0)
    (warning,) = warnings_of(caplog)
    assert "nowhere.invalid" in warning
    assert "its name cannot be resolved" in warning
    assert "LANGFUSE_BASE_URL" in warning


def test_tls_that_fails_is_said(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A server that speaks no TLS: everything waits, and the warning says that TLS failed."""
    configure(base_url=langfuse.url.replace("http:", "https:"), exit_timeout_s=0.1, timeout_s=2)
    record("a")
    assert langfuse_manager.flush(1) == (0, 1, 0)
    (warning,) = warnings_of(caplog)
    assert "TLS failed" in warning


def test_retry_after_in_seconds_is_honoured(langfuse: Receiver) -> None:
    """No request comes before the server wants one, whatever is flushed."""
    langfuse.script(status(429, retry_after_s=1))
    ids = record("a")
    first = langfuse_manager.flush(0.3)
    assert first == (0, 1, 0)
    langfuse_manager.flush(0.3)
    assert langfuse_manager.flush(20) == (1, 0, 0)
    one, two = (exchange.request.at_s for exchange in langfuse.requests)
    assert two - one >= 1.0
    assert_once(langfuse, ids)


def test_retry_after_as_a_date_is_honoured(langfuse: Receiver) -> None:
    """A Retry-After that is a date delays the next request until then."""
    langfuse.script(status(503, retry_after_s=formatdate(time.time() + 2, usegmt=True)))
    record("a")
    assert langfuse_manager.flush(20) == (1, 0, 0)
    one, two = (exchange.request.at_s for exchange in langfuse.requests)
    assert two - one >= 0.9  # a date has whole seconds


def test_back_off_grows(langfuse: Receiver) -> None:
    """Left to itself the sender waits longer after each failure, and not for the same time as others."""
    configure(flush_interval_s=0, exit_timeout_s=0.1)
    langfuse.always(status(503))
    record("a")
    langfuse.wait_for_requests(4, 20)
    times = [exchange.request.at_s for exchange in langfuse.requests]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] >= 0.24
    assert gaps[1] >= 0.49
    assert gaps[2] >= 0.99
    langfuse.always(None)


# -- whose fault it is


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({}, 401, r"LANGFUSE_SECRET_KEY does not go with LANGFUSE_PUBLIC_KEY, or .* \(LANGFUSE_BASE_URL"),
        (
            {"secret_key": "pk-lf-1", "public_key": "sk-lf-2"},
            401,
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are swapped",
        ),
        ({"public_key": "lf-1"}, 401, "LANGFUSE_PUBLIC_KEY does not begin with pk-lf-"),
        ({"secret_key": "lf-1"}, 401, "LANGFUSE_SECRET_KEY does not begin with sk-lf-"),
        ({}, 403, "may not write to their project"),
        ({}, 404, "check LANGFUSE_BASE_URL"),
    ],
)
def test_the_variable_that_is_wrong_is_named(
    langfuse: Receiver, caplog: pytest.LogCaptureFixture, keys: dict[str, str], code: int, said: str
) -> None:
    """What Langfuse refuses as a whole is kept, and one warning says which variable to look at, without any key."""
    configure(**keys, exit_timeout_s=0.2)
    langfuse.always(status(code))
    record("a", "b")
    for _ in range(2):
        assert langfuse_manager.flush(0.3) == (0, 2, 0)
    (warning,) = warnings_of(caplog)
    assert re.search(said, warning)
    assert not [key for key in (langfuse.public_key, langfuse.secret_key, *keys.values()) if key in warning]


def test_a_redirect_says_where_to(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The keys do not follow a redirect; the warning says what to set."""
    with Receiver() as elsewhere:
        langfuse.always(redirect(elsewhere.url + "/x"))
        record("a")
        assert langfuse_manager.flush(0.5) == (0, 1, 0)
        assert elsewhere.requests == []
        (warning,) = warnings_of(caplog)
        assert f"redirects to {elsewhere.url}/x; set LANGFUSE_BASE_URL" in warning
    langfuse.always(None)
    assert langfuse_manager.flush(10) == (1, 0, 0)


# -- what is refused for good


def test_poison_is_isolated_set_aside_and_counted(langfuse: Receiver) -> None:
    """One observation that Langfuse refuses costs no other; it stays in the journal, with the reason."""
    langfuse.always(poison("bad"))
    ids = record(*(f"good {number}" for number in range(20)))
    (bad,) = record("bad")
    ids += record(*(f"good {number}" for number in range(20, 33)))
    assert langfuse_manager.flush(20) == (33, 0, 1)
    assert langfuse_manager.stats.reasons == {"refused by Langfuse": 1}
    assert_once(langfuse, ids)
    assert set_aside() == [(bad, "bad", "HTTP 400 (invalid span 'bad')")]
    assert langfuse_manager.flush(5) == (33, 0, 1)
    assert len(set_aside()) == 1


def test_poison_alone_is_set_aside_once_the_server_takes_anything(langfuse: Receiver) -> None:
    """A single refused observation is told from a server that refuses all by sending it nothing at all."""
    langfuse.always(poison("bad"))
    record("bad")
    assert langfuse_manager.flush(10) == (0, 0, 1)
    assert [len(exchange.spans) for exchange in langfuse.requests] == [1, 0, 1]


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_server_that_refuses_everything_costs_nothing(langfuse: Receiver, code: int) -> None:
    """A proxy that answers 400 to whatever is sent is an outage, not an end."""
    ids = record("before")
    assert langfuse_manager.flush(10) == (1, 0, 0)
    langfuse.always(status(code))
    ids += record(*"abcdefgh")
    assert langfuse_manager.flush(0.5) == (1, 8, 0)
    assert set_aside() == []
    langfuse.always(None)
    assert langfuse_manager.flush(20) == (9, 0, 0)
    assert_once(langfuse, ids)


@pytest.mark.parametrize("names", [["alone"], ["a", "b", "c"]], ids=["alone", "several"])
def test_a_row_that_was_refused_as_an_outage_ended_is_delivered(langfuse: Receiver, names: list[str]) -> None:
    """A proxy refuses everything, and goes on just before the empty request: the row was good, and is sent again."""
    over: list[bool] = []

    def recovering(exchange: Exchange) -> Answer:
        if not exchange.spans:
            over.append(True)
        return exchange.accept() if over else Answer(400)

    langfuse.always(recovering)
    ids = record(*names)
    assert langfuse_manager.flush(20) == (len(names), 0, 0)
    assert (over, set_aside()) == ([True], [])
    assert_once(langfuse, ids)


def test_a_batch_that_is_too_large_is_halved(langfuse: Receiver) -> None:
    """413: the halves go through, and only an observation that is too large alone is set aside."""
    langfuse.always(too_large(3_000))
    ids = record(*(f"{number:0500}" for number in range(30)))
    with langfuse_manager.trace_span("huge", input=[f"{number * 7919 % 10007}" for number in range(5_000)]):
        pass
    assert langfuse_manager.flush(20) == (30, 0, 1)
    assert_once(langfuse, ids)
    assert [name for _, name, _ in set_aside()] == ["huge"]


def test_a_server_too_slow_for_a_batch_gets_less(langfuse: Receiver) -> None:
    """What times out is sent in smaller batches, until they go through."""

    def overburdened(exchange: Exchange) -> Answer:
        return (hang() if len(exchange.spans) > 10 else accepted)(exchange)

    configure(timeout_s=1.0)
    langfuse.always(overburdened)
    ids = record(*map(str, range(40)))
    assert langfuse_manager.flush(20) == (40, 0, 0)
    assert_once(langfuse, ids)


@pytest.mark.parametrize("kind", ["protobuf", "json"])
def test_a_partial_success_sets_aside_what_was_rejected(langfuse: Receiver, kind: str) -> None:
    """OTLP's partial success (200, some spans rejected) is found out by halves, as other refusals are."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    def partly(exchange: Exchange) -> Answer:
        rejected = sum(span.name == "bad" for span in exchange.spans)
        if not rejected:
            return exchange.accept()
        if kind == "json":
            body = b'{"partialSuccess": {"rejectedSpans": "%d", "errorMessage": "too odd"}}' % rejected
            return Answer(200, body, {"Content-Type": "application/json"})
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = "too odd"
        return Answer(200, response.SerializeToString(), {"Content-Type": "application/x-protobuf"})

    langfuse.always(partly)
    ids = record("a", "b", "c")
    record("bad")
    ids += record("d")
    assert langfuse_manager.flush(20) == (4, 0, 1)
    assert_once(langfuse, ids)
    assert [(name, reason) for _, name, reason in set_aside()] == [("bad", "rejected: too odd")]


def set_aside() -> list[tuple[str, str, str]]:
    """What the journal holds that was refused: span id, name and reason."""
    from langfuse_integration.journal.journal import Journal
    from langfuse_integration.settings import settings

    opened = Journal(settings().journal_path)
    try:
        return [
            (row[0], row[1], row[2]) for row in opened.query("SELECT span_id, name, reason FROM spans WHERE state = 2")
        ]
    finally:
        opened.close()


# -- the way there


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A plain HTTP proxy: its address, and the first lines of the requests that came."""
    import http.server

    seen: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(f"{self.path} {self.headers['Proxy-Authorization']}")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://user:word@127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_proxy_is_used(langfuse: Receiver, proxy: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY is honoured, with its user, and NO_PROXY too."""
    address, seen = proxy
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    configure(base_url="http://langfuse.example.org")
    record("through")
    assert langfuse_manager.flush(10) == (1, 0, 0)
    assert seen == ["http://langfuse.example.org/api/public/otel/v1/traces Basic dXNlcjp3b3Jk"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    configure(base_url=langfuse.url)
    record("past")
    assert langfuse_manager.flush(10) == (1, 0, 0)
    assert [span.name for span in langfuse.spans] == ["past"]
    assert len(seen) == 1


def test_an_application_goes_on_while_langfuse_is_slow(langfuse: Receiver) -> None:
    """Recording never waits for a request: a hundred observations are noted while one request is under way."""
    langfuse.script(slow(1.0))
    record("first")
    threading.Thread(target=langfuse_manager.flush, args=(10,)).start()
    langfuse.wait_for_requests(1)
    began = time.monotonic()
    record(*map(str, range(100)))
    assert time.monotonic() - began < 0.9
    assert [exchange.status for exchange in langfuse.requests] == [None]
    until(lambda: langfuse_manager.flush(10) == (101, 0, 0))


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_certificate_that_is_not_trusted_names_its_cure(
    receiver: Receiver, journal: Path, tmp_path: Path, variable: str | None
) -> None:
    """The message names the variables for certificates, not the base URL; a file that is not there is said as well."""
    missing = str(tmp_path / "nowhere.pem")
    with TlsFront(receiver.port, tmp_path) as front:
        out = run_fresh(
            """
            import sys

            sys.stderr = sys.stdout
            from langfuse_integration import langfuse_manager

            with langfuse_manager.trace_span("query"):
                pass
            print(*langfuse_manager.flush(2))
            """,
            {
                **receiver.environment(),
                "LANGFUSE_INTEGRATION_JOURNAL": str(journal),
                "LANGFUSE_BASE_URL": front.url,
                **({variable: missing} if variable is not None else {}),
            },
        )
    assert out.count("its certificate is not trusted") == 1
    assert "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE" in out
    assert "LANGFUSE_BASE_URL" not in out
    assert (f"{variable} names {missing}, which does not exist" in out) == (variable is not None)
    assert "0 1 0" in out


def test_a_flush_without_a_deadline_of_the_application_ends_in_an_outage(langfuse: Receiver) -> None:
    """OpenTelemetry's and the SDK's flush wait while it helps, not for half a minute where all is refused."""
    langfuse.always(status(503))
    with langfuse_manager.trace_span("waits"):
        pass
    result = tracing.recorder.flush_while_it_helps(3600, 0.2)
    assert (result.delivered, result.pending, result.lost) == (0, 1, 0)
    langfuse.always(None)
    assert langfuse_manager.flush(30).pending == 0
    assert [span.name for span in langfuse.spans] == ["waits"]


def test_a_flush_without_a_deadline_of_the_application_waits_for_a_slow_server(langfuse: Receiver) -> None:
    """A server that takes longer than the patience, and then accepts, gets everything."""
    langfuse.script(slow(1.0))
    with langfuse_manager.trace_span("slow"):
        pass
    assert tracing.recorder.flush_while_it_helps(60, 0.05).pending == 0
    assert [span.name for span in langfuse.spans] == ["slow"]


def test_a_flush_that_cannot_help_is_not_repeated(langfuse: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where delivery has ended, as with a thread that could not be had, waiting rows are asked for once."""
    recorder = tracing.recorder
    with langfuse_manager.trace_span("delivered"):
        pass
    assert recorder.flush(30).pending == 0
    sender = recorder.worker._outlet._journal._sender  # type: ignore[union-attr]
    sender.stop()
    sender.join(30)
    with langfuse_manager.trace_span("waits"):
        pass
    flushes: list[float] = []
    flush = recorder._flush
    monkeypatch.setattr(
        recorder, "_flush", lambda deadline, **ends: flushes.append(deadline) or flush(deadline, **ends)
    )
    assert recorder.flush_while_it_helps(3600, 60).pending == 1
    assert len(flushes) == 1

"""The receiver, seen by the clients that really talk to Langfuse."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version

import httpx
import pytest
from langfuse import Langfuse
from langfuse.api import MediaContentType
from langfuse.media import LangfuseMedia
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

from peers.misbehaviour import (
    accepted,
    accepted_after,
    dropped,
    hang,
    lost_answer,
    poison,
    redirect,
    slow,
    status,
    too_large,
)
from peers.otlp import Receiver, tree
from peers.spans import MISSING_PARENT
from peers.waiting import until
from web import get

ATTRIBUTES = {"text": "é", "flag": True, "count": 2**40, "share": 0.5, "tags": ["a", "b"], "session.id": "s"}


def made(*names: str) -> list[ReadableSpan]:
    """Return finished spans: the first is the root of the others, which follow each other."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "peer-test"}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("peer.scope", "1.2")
    root = tracer.start_span(names[0], start_time=1_000, kind=SpanKind.CLIENT)
    root.set_attributes(
        {"text": "é", "flag": True, "count": 2**40, "share": 0.5, "tags": ["a", "b"], "session.id": "s"}
    )
    root.add_event("tick", {"n": 1}, timestamp=1_500)
    link = Link(root.get_span_context())
    for index, name in enumerate(names[1:]):
        child = tracer.start_span(name, set_span_in_context(root), start_time=2_000 + index, links=[link])
        child.set_status(Status(StatusCode.ERROR, "broke"))
        child.end(3_000 + index)
    root.end(9_000)
    return list(kept.get_finished_spans())


def authorised(receiver: Receiver) -> httpx.BasicAuth:
    """Return the receiver's keys as httpx wants them."""
    return httpx.BasicAuth(receiver.public_key, receiver.secret_key)


@pytest.fixture
def exporter(receiver: Receiver) -> Iterator[OTLPSpanExporter]:
    """The stock exporter, gzip, with the receiver's keys, giving up after ten seconds."""
    auth = httpx.Request("GET", "http://x")
    header = next(authorised(receiver).auth_flow(auth)).headers["Authorization"]
    stock = OTLPSpanExporter(
        endpoint=receiver.traces_url, headers={"Authorization": header}, compression=Compression.Gzip, timeout=10
    )
    yield stock
    stock.shutdown()  # type: ignore[no-untyped-call]


def test_a_span_arrives_with_everything_it_carries(receiver: Receiver, exporter: OTLPSpanExporter) -> None:
    """Ids, times, kind, attributes of each type, status, events, links, scope and resource come out as plain values."""
    spans = made("root", "child")
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    child, root = receiver.wait_for(2)
    sent = spans[1].get_span_context()
    assert sent is not None
    assert (root.trace_id, root.span_id, root.parent_id) == (f"{sent.trace_id:032x}", f"{sent.span_id:016x}", None)
    assert (root.name, root.kind, root.start_ns, root.end_ns, root.status) == ("root", "CLIENT", 1_000, 9_000, "UNSET")
    assert root.attributes == ATTRIBUTES
    assert [(event.name, event.at_ns, event.attributes) for event in root.events] == [("tick", 1_500, {"n": 1})]
    assert (root.scope, root.scope_version, root.resource) == ("peer.scope", "1.2", {"service.name": "peer-test"})
    assert (child.parent_id, child.status, child.status_message) == (root.span_id, "ERROR", "broke")
    assert child.links == ((root.trace_id, root.span_id),)
    assert receiver.trees() == [("root", ("child",))]
    [request] = receiver.requests
    assert request.headers["content-encoding"] == "gzip"
    assert request.request.size_bytes < len(request.request.body)


def test_json_traces_with_hexadecimal_ids_are_read(receiver: Receiver) -> None:
    """OTLP JSON, plain or zipped, gives the same span as protobuf."""
    span = {
        "traceId": "0AF7651916CD43DD8448EB211C80319C",
        "spanId": "b7ad6b7169203331",
        "parentSpanId": "00f067aa0ba902b7",
        "name": "j",
        "kind": 3,
        "startTimeUnixNano": "10",
        "endTimeUnixNano": "20",
        "attributes": [
            {"key": "n", "value": {"intValue": "7"}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}}},
        ],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "s"}, "spans": [span]}]}]}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = httpx.post(receiver.traces_url, content=gzip.compress(body), headers=headers, auth=authorised(receiver))
    assert (answer.status_code, answer.json()) == (200, {})
    [came] = receiver.spans
    assert (came.trace_id, came.span_id, came.parent_id) == (
        "0af7651916cd43dd8448eb211c80319c",
        "b7ad6b7169203331",
        "00f067aa0ba902b7",
    )
    assert (came.kind, came.start_ns, came.attributes) == ("CLIENT", 10, {"n": 7, "map": {"k": True}})


def test_a_chunked_body_is_read(receiver: Receiver) -> None:
    """A body of unknown length arrives whole."""
    headers = {"Content-Type": "application/json"}
    pieces = iter([b'{"resource', b'Spans": []}'])
    answer = httpx.post(receiver.traces_url, content=pieces, headers=headers, auth=authorised(receiver))
    assert (answer.status_code, receiver.requests[0].request.body) == (200, b'{"resourceSpans": []}')


def test_a_client_that_dies_while_it_sends_leaves_no_request(receiver: Receiver) -> None:
    """Half a body, plain or chunked, is no request; the next client is served."""
    for framing in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", receiver.port)) as dying:
            dying.sendall(b"POST /api/public/otel/v1/traces HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n5\r\nhalf")
    assert httpx.post(receiver.traces_url, json={}, auth=authorised(receiver)).status_code == 200
    assert (receiver.connections, [request.status for request in receiver.requests]) == (3, [200])


def test_a_body_that_is_not_what_it_says_is_rejected(receiver: Receiver) -> None:
    """Broken gzip, broken protobuf and a strange content type are answered in turn, and nothing is kept."""
    protobuf = {"Content-Type": "application/x-protobuf"}
    for headers, status_code in (
        ({**protobuf, "Content-Encoding": "gzip"}, 400),
        (protobuf, 400),
        ({"Content-Type": "text/plain"}, 415),
    ):
        sent = httpx.post(receiver.traces_url, content=b"no such thing", headers=headers, auth=authorised(receiver))
        assert sent.status_code == status_code
    assert receiver.spans == []


def test_wrong_keys_are_refused(receiver: Receiver) -> None:
    """Without the right keys nothing is kept and the answer is 401, on every endpoint but health."""
    for auth in (None, httpx.BasicAuth(receiver.public_key, "other")):
        headers = {"Content-Type": "application/x-protobuf"}
        assert httpx.post(receiver.traces_url, content=b"", headers=headers, auth=auth).status_code == 401
        assert get(receiver.url + "/api/public/projects", auth=auth).status_code == 401
    assert get(receiver.url + "/api/public/health").json()["status"] == "OK"
    assert [request.status for request in receiver.requests] == [401, 401]
    assert receiver.spans == []


def test_a_malformed_id_rejects_its_whole_batch(receiver: Receiver) -> None:
    """One span with a short id: 400 and nothing of the batch is kept, as Langfuse does."""
    spans = [
        {"traceId": "0a" * 16, "spanId": "0b" * 8, "name": "good"},
        {"traceId": "0a", "spanId": "0b" * 8, "name": "bad"},
    ]
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    answer = httpx.post(receiver.traces_url, json=body, auth=authorised(receiver))
    assert answer.status_code == 400
    assert "'bad'" in answer.json()["message"]
    assert receiver.spans == []


def test_the_langfuse_client_works_against_it(receiver: Receiver) -> None:
    """The SDK's spans, scores, media, prompts, project and auth check all arrive or answer."""
    receiver.api.prompts["greet"] = {"type": "text", "prompt": "Hello {{who}}", "version": 3}
    client = Langfuse(
        public_key=receiver.public_key,
        secret_key=receiver.secret_key,
        base_url=receiver.url,
        tracer_provider=TracerProvider(),
        timeout=5,
    )
    try:
        assert client.auth_check()
        assert client.get_prompt("greet").version == 3
        picture = LangfuseMedia(content_bytes=b"\x89PNG", content_type=MediaContentType("image/png"))
        with client.start_as_current_observation(name="outer", as_type="agent", input={"q": [1]}) as outermost:
            outermost.update(metadata={"p": picture})
            with client.start_as_current_observation(name="inner", as_type="tool", output="done"):
                client.score_current_span(name="good", value=1.0)
            url = client.get_trace_url()
        client.flush()
        receiver.wait_until(lambda: len(receiver.scores) == 1 and len(receiver.api.media) == 1)
    finally:
        client.shutdown()
    assert receiver.trees(lambda span: (span.name, span.type)) == [(("outer", "agent"), (("inner", "tool"),))]
    inner, outer = receiver.spans
    assert (outer.input, inner.output) == ({"q": [1]}, "done")
    assert url == f"{receiver.url}/project/test-project/traces/{outer.trace_id}"
    [score] = receiver.scores
    assert (score["name"], score["value"], score["observationId"]) == ("good", 1.0, inner.span_id)
    assert list(receiver.api.media.values()) == [b"\x89PNG"]
    told = "4" if int(version("langfuse").split(".")[0]) >= 5 else None  # the SDK's own exporter, from 5.0 on
    assert {request.headers.get("x-langfuse-ingestion-version") for request in receiver.requests} == {told}


def test_an_ingestion_batch_of_an_older_sdk_is_kept(receiver: Receiver) -> None:
    """A score in a batch to /ingestion is a score; the answer names what was taken."""
    event = {"id": "e1", "type": "score-create", "body": {"name": "good", "value": 1}}
    answer = httpx.post(receiver.url + "/api/public/ingestion", json={"batch": [event]}, auth=authorised(receiver))
    assert (answer.status_code, answer.json()["successes"]) == (207, [{"id": "e1", "status": 201}])
    assert receiver.scores == [event["body"]]


def test_a_tree_shows_orphans_and_doubled_spans_once(receiver: Receiver, exporter: OTLPSpanExporter) -> None:
    """A span whose parent never came stands under a missing parent; one that came twice is reported and shown once."""
    spans = made("root", "b", "a")
    exporter.export(spans)
    exporter.export(spans[:1])
    assert receiver.trees() == [("root", ("b",), ("a",))]
    assert receiver.trees(ordered=False) == [("root", ("a",), ("b",))]
    sent = spans[0].get_span_context()
    assert sent is not None
    assert receiver.doubled() == {f"{sent.trace_id:032x}/{sent.span_id:016x}": 2}
    assert tree(span for span in receiver.spans if span.name != "root") == [(MISSING_PARENT, ("b",), ("a",))]


def test_each_scripted_status_is_answered_once_in_order(receiver: Receiver) -> None:
    """Scripted behaviours are used up one a request, then the standing one holds; only what was accepted is kept."""
    receiver.script(*map(status, (401, 403, 408, 413, 500, 503)), status(429, retry_after_s=7), accepted)
    receiver.always(status(502))
    headers = {"Content-Type": "application/json"}
    with httpx.Client(auth=authorised(receiver), headers=headers) as client:
        answers = [client.post(receiver.traces_url, content=b"{}") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [401, 403, 408, 413, 500, 503, 429, 200, 502]
    assert answers[6].headers["retry-after"] == "7"
    assert [request.stored for request in receiver.requests] == [False] * 7 + [True, False]
    assert receiver.connections == 1


def test_the_stock_exporter_tries_again_after_a_503(receiver: Receiver, exporter: OTLPSpanExporter) -> None:
    """An overload that passes costs a retry and doubles nothing."""
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=-5), usegmt=True)
    receiver.script(status(503, retry_after_s=when))
    assert exporter.export(made("root")) is SpanExportResult.SUCCESS
    assert [request.status for request in receiver.requests] == [503, 200]
    assert receiver.doubled() == {}


def test_a_hang_keeps_the_client_waiting_and_nothing_else(receiver: Receiver) -> None:
    """A client that meets a hang times out; the spans are not kept and closing the receiver does not wait for it."""
    receiver.script(hang(60))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(receiver.traces_url, json={}, auth=authorised(receiver), timeout=0.2)
    assert [request.status for request in receiver.wait_for_requests(1)] == [None]
    before = time.monotonic()
    receiver.close()
    assert time.monotonic() - before < 50


def test_a_held_request_is_accepted_when_the_test_says_so(receiver: Receiver) -> None:
    """Between arrival and release the request is there, unanswered and not stored."""
    release = threading.Event()
    receiver.script(accepted_after(release), slow(0.01))
    answers: list[int] = []

    def post() -> None:
        answers.append(httpx.post(receiver.traces_url, json={}, auth=authorised(receiver)).status_code)

    client = threading.Thread(target=post)
    client.start()
    [request] = receiver.wait_for_requests(1)
    assert (request.status, request.stored, answers) == (None, False, [])
    release.set()
    client.join(60)
    post()
    assert (request.status, request.stored, answers) == (200, True, [200, 200])


def test_dropped_connections_and_lost_answers_are_told_apart(receiver: Receiver) -> None:
    """All three break the client's request, and the receiver knows which of them were kept."""
    receiver.script(dropped(), lost_answer(), lost_answer(cut_after_bytes=10))
    for _ in range(3):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(receiver.traces_url, json={}, auth=authorised(receiver))
    until(lambda: [request.stored for request in receiver.requests] == [False, True, True])


def test_a_redirect_names_another_receiver(receiver: Receiver) -> None:
    """A client that follows it delivers there, and nothing is kept here."""
    with Receiver() as other:
        receiver.script(redirect(other.traces_url))
        answer = httpx.post(receiver.traces_url, json={}, auth=authorised(receiver))
        assert (answer.status_code, answer.headers["location"]) == (308, other.traces_url)
        assert [len(receiver.requests), len(other.requests), receiver.requests[0].stored] == [1, 0, False]


def test_a_poisoned_batch_and_a_large_one_are_rejected(receiver: Receiver, exporter: OTLPSpanExporter) -> None:
    """The receiver refuses only the batch with the named span or with too many bytes."""
    receiver.always(poison("bad"))
    assert exporter.export(made("root", "bad")) is SpanExportResult.FAILURE
    assert exporter.export(made("good")) is SpanExportResult.SUCCESS
    receiver.always(too_large(500))
    assert exporter.export(made("small")) is SpanExportResult.SUCCESS
    assert exporter.export(made("large", *(f"child {index}" for index in range(100)))) is SpanExportResult.FAILURE
    assert [request.status for request in receiver.requests] == [400, 200, 200, 413]
    assert [span.name for span in receiver.spans] == ["good", "small"]


def test_a_refusing_receiver_comes_back_on_its_port(receiver: Receiver) -> None:
    """While it refuses, kept connections are dropped and new ones refused; then the same address works again."""
    with httpx.Client(auth=authorised(receiver)) as client:
        for _ in range(3):
            assert client.post(receiver.traces_url, json={}).status_code == 200
            with receiver.refusing():
                with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)):
                    client.post(receiver.traces_url, json={})
                with pytest.raises(httpx.ConnectError):
                    httpx.post(receiver.traces_url, json={})
        assert client.post(receiver.traces_url, json={}).status_code == 200
    assert [request.status for request in receiver.requests] == [200] * 4


def test_waiting_in_vain_says_what_came(receiver: Receiver) -> None:
    """A time-out names the spans and answers so far."""
    receiver.script(status(503))
    httpx.post(receiver.traces_url, json={}, auth=authorised(receiver))
    with pytest.raises(TimeoutError, match=r"no 2 spans in 0.05 s: 0 spans came, answers were \{503: 1\}"):
        receiver.wait_for(2, timeout_s=0.05)


def test_a_closed_receiver_leaves_no_thread() -> None:
    """Closing ends the threads of listening and of every connection, a hanging one too."""
    before = set(threading.enumerate())
    with Receiver() as receiver:
        receiver.script(hang(60))
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(receiver.traces_url, json={}, timeout=0.1)
    until(lambda: set(threading.enumerate()) <= before)

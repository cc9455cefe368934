"""Destinations beside or without Langfuse: each gets everything once, whatever happens to the others."""

from __future__ import annotations

import secrets
import sqlite3
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from applications import application, assert_once, run
from export.rows import record
from langfuse_integration import OtlpDestination, configure, langfuse_manager
from langfuse_integration.export.push_to import push_to
from langfuse_integration.runtime import ready
from langfuse_integration_langchain import SessionHandler
from peers.backend import Backend
from peers.exchange import Exchange
from peers.misbehaviour import accepted_after, hang, poison, redirect, status
from peers.otlp import Receiver
from peers.server import Answer
from peers.spans import parse
from peers.waiting import until


def counts() -> list[tuple[int, int, int, int]]:
    """The counters of each destination: delivered, waiting, refused, lost."""
    return [found[1:] for found in langfuse_manager.stats.destinations]


def rows(journal: Path, statement: str = "SELECT state, count(*) FROM spans GROUP BY state") -> list[tuple[Any, ...]]:
    """What a statement reads in the journal."""
    db = sqlite3.connect(journal)
    try:
        return db.execute(statement).fetchall()
    finally:
        db.close()


@pytest.fixture
def second() -> Iterator[Backend]:
    """A second server for traces."""
    with Backend() as peer:
        yield peer


# -- where it goes


def test_the_environment_names_a_destination(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys, everything goes to the endpoint of the environment, with the headers, as protobuf in gzip."""
    monkeypatch.setenv("LANGFUSE_INTEGRATION_OTLP_ENDPOINT", backend.url)
    monkeypatch.setenv("LANGFUSE_INTEGRATION_OTLP_HEADERS", "api-key=secret%20one,x-project=llamas")
    configure()
    with langfuse_manager.session("s", "u"), langfuse_manager.trace_span("outer"), langfuse_manager.trace_span("inner"):
        pass
    langfuse_manager.flush(10)
    assert backend.trees() == [("outer", ("inner",))]
    assert {(span.session_id, span.user_id) for span in backend.spans} == {("s", "u")}
    headers = backend.requests[0].headers
    assert headers["api-key"] == "secret one"
    assert headers["x-project"] == "llamas"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-encoding"] == "gzip"
    assert "authorization" not in headers


def test_langfuse_gets_the_same_as_without_a_destination(langfuse: Receiver, backend: Backend) -> None:
    """Langfuse gets the same bytes with a destination, which itself gets the attributes of the conventions."""
    record_some()
    before = rows_without_ids(langfuse)
    configure(destinations=[OtlpDestination(backend.url)])
    record_some()
    assert rows_without_ids(langfuse) == sorted(before * 2)
    assert {exchange.request.path for exchange in langfuse.requests} == {"/api/public/otel/v1/traces"}
    after = {span.span_id: span for span in langfuse.spans}
    assert len(before) == len(backend.wait_for(4)) == 4
    for there in backend.spans:
        assert there.attributes.items() >= after[there.span_id].attributes.items()
    (plain,) = (span for span in backend.spans if span.name == "plain")
    assert plain.attributes["openinference.span.kind"] == "CHAIN"
    assert plain.attributes["input.value"] == "input of plain"


def record_some() -> None:
    """Record and deliver a span, a failed one, a step of an agent, and an MCP call."""
    record("plain")
    with pytest.raises(ValueError, match="no hay"), langfuse_manager.trace_span("failed"):
        raise ValueError("no hay")
    langfuse_manager.trace_agent_step("think", "in", "out")
    langfuse_manager.trace_mcp_call("server", query="q", response="r", tool="search")
    langfuse_manager.flush(10)


def rows_without_ids(receiver: Receiver) -> list[bytes]:
    """Return the rows that came, with all that surrounds them, as bytes without ids and times."""
    rows: list[bytes] = []
    for exchange in receiver.requests:
        for part in parse(exchange.request.body, exchange.headers["content-type"]).resource_spans:
            for span in (span for scope in part.scope_spans for span in scope.spans):
                for name in ("trace_id", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano"):
                    span.ClearField(name)
            rows.append(part.SerializeToString(deterministic=True))
    return sorted(rows)


def calls_of(count: int) -> int:
    """How many Python functions run on this thread while it records *count* observations."""
    names: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and "langfuse_integration" in frame.f_code.co_filename:
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        record(*("row" for _ in range(count)))
    finally:
        sys.setprofile(None)
    return len(names)


def test_destinations_cost_the_application_no_call(langfuse: Receiver, backend: Backend, second: Backend) -> None:
    """An observation runs as many functions on the application's thread with two destinations as with none."""
    record(*("warm" for _ in range(20)))
    langfuse_manager.flush(10)
    without = min(calls_of(50) for _ in range(3))
    configure(destinations=[OtlpDestination(backend.url), OtlpDestination(second.url)])
    record(*("warm" for _ in range(20)))
    langfuse_manager.flush(10)
    beside = min(calls_of(50) for _ in range(3))
    assert beside < without + 25, "a call more in each would be 50; waking the worker up costs a few"


WAITS = {"acquire", "wait", "sleep", "connect", "send", "sendall", "recv", "execute", "commit", "fsync", "open"}
"""Functions of C that may wait for a lock, a server or a disk."""
OF_SENDERS = ("langfuse_integration.export", "langfuse_integration.journal", "sqlite3", "socket", "ssl", "http")


def used_by(count: int) -> Counter[str]:
    """Return the calls of this thread while it records *count* observations: modules of Python, and functions of C."""
    used = Counter[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            used[str(frame.f_globals.get("__name__"))] += 1
        elif event == "c_call":
            used[str(getattr(argument, "__name__", argument))] += 1

    sys.setprofile(note)
    try:
        record(*("row" for _ in range(count)))
    finally:
        sys.setprofile(None)
    return used


def test_destinations_that_fail_cost_the_application_nothing(
    langfuse: Receiver, backend: Backend, second: Backend
) -> None:
    """With one destination dead, one silent and one that refuses, a row costs the same calls, and none that waits."""
    with Backend() as refusing:
        record(*("warm" for _ in range(20)))
        langfuse_manager.flush(10)
        without = min(used_by(50).total() for _ in range(3))
        backend.refuse()
        second.always(hang())
        refusing.always(status(503))
        configure(destinations=[OtlpDestination(peer.url) for peer in (backend, second, refusing)])
        record(*("warm" for _ in range(20)))
        second.wait_for_requests(1)
        refusing.wait_for_requests(1)
        beside = min(used_by(50).total() for _ in range(3))
        assert beside < without + 50, "a call more in each would be 50; waking the worker up costs a few"
        used = used_by(200)
        assert not [name for name in used if name.startswith(OF_SENDERS)]
        assert used.keys() & WAITS <= {"acquire"}, "waking the worker up takes the lock of its event"
        langfuse.wait_for(20 + 150 + 20 + 150 + 200)
        assert second.spans == refusing.spans == []


def test_what_is_for_the_local_journal_goes_nowhere(backend: Backend, journal: Path) -> None:
    """Attributes of this package that are for local replays never reach a destination."""
    configure(destinations=[OtlpDestination(backend.url)])
    with langfuse_manager.trace_span("one") as span:
        span.set_attribute("langfuse_integration.exact", "the whole request")
        span.set_attribute("kept", "yes")
    langfuse_manager.flush(10)
    (there,) = backend.spans
    assert there.attributes["kept"] == "yes"
    assert [key for key in there.attributes if key.startswith("langfuse_integration")] == []
    assert b"the whole request" in rows(journal, "SELECT body FROM spans")[0][0]


def test_several_destinations_each_have_everything(langfuse: Receiver, backend: Backend, second: Backend) -> None:
    """Two destinations beside Langfuse: each of the three gets each observation once, and the journal is empty."""
    configure(destinations=[OtlpDestination(backend.url), OtlpDestination(f"{second.url}/v1/traces", conventions=())])
    ids = record("a", "b", "c")
    assert langfuse_manager.flush(10) == (3, 0, 0)
    for receiver in (langfuse, backend, second):
        assert_once(receiver, ids)
    assert counts() == [(3, 0, 0, 0), (3, 0, 0, 0)]
    assert "openinference.span.kind" not in second.spans[0].attributes


def test_the_journal_keeps_a_row_until_every_destination_has_it(
    langfuse: Receiver, backend: Backend, journal: Path
) -> None:
    """What Langfuse has acknowledged stays while a destination waits for it, and is removed after that."""
    backend.always(status(503))
    configure(destinations=[OtlpDestination(backend.url)])
    ids = record("a", "b")
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert rows(journal) == [(1, 2)]
    assert counts() == [(0, 2, 0, 0)]
    backend.always(None)
    langfuse_manager.flush(10)
    until(lambda: counts() == [(2, 0, 0, 0)])
    assert rows(journal) == []
    assert_once(backend, ids)
    assert_once(langfuse, ids)


def test_without_keys_rows_stay_in_the_journal(backend: Backend, journal: Path) -> None:
    """A destination without Langfuse takes nothing out of the journal: it is there to look at, and for a later push."""
    configure(destinations=[OtlpDestination(backend.url)])
    record("a", "b")
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert counts() == [(2, 0, 0, 0)]
    assert rows(journal) == [(0, 2)]


def test_nothing_of_it_is_in_the_journal_without_a_destination(langfuse: Receiver, journal: Path) -> None:
    """Without a destination the journal has no table, no trigger and no index for one."""
    record("a")
    langfuse_manager.flush(10)
    assert (
        rows(journal, "SELECT name FROM sqlite_master WHERE name LIKE '%forward%' OR sql LIKE '%subscriptions%'") == []
    )


# -- spans of other libraries


def test_spans_of_others_go_along(langfuse: Receiver, backend: Backend, journal: Path) -> None:
    """A destination has the web request and the query around and below our rows; Langfuse has our rows alone."""
    configure(destinations=[OtlpDestination(backend.url)])
    ready()
    application = trace.get_tracer("app")
    with (
        application.start_as_current_span("request"),
        langfuse_manager.session("s", "u"),
        langfuse_manager.trace_span("agent"),
        application.start_as_current_span("db query"),
    ):
        pass
    with application.start_as_current_span("GET /health"), application.start_as_current_span("ping"):
        pass
    langfuse_manager.flush(10)
    assert langfuse.trees() == [("agent",)]
    backend.wait_for(3)
    assert backend.trees() == [("request", ("agent", ("db query",)))]
    assert langfuse_manager.stats.recorded == 1
    assert rows(journal, "SELECT count(*) FROM companions") == [(0,)]


def test_rows_stand_below_the_spans_of_others_that_they_began_in(langfuse: Receiver, backend: Backend) -> None:
    """A row in a query in a row stands below the query there, and below the row above in Langfuse."""
    configure(destinations=[OtlpDestination(backend.url)])
    ready()
    application = trace.get_tracer("app")
    chain = RunnableLambda(lambda value: value).with_config(run_name="chain", callbacks=[SessionHandler()])
    with langfuse_manager.trace_span("agent"), application.start_as_current_span("query"):
        with (
            application.start_as_current_span("cursor"),
            langfuse_manager.trace_span("rerank"),
            application.start_as_current_span("cache"),
        ):
            pass
        chain.invoke("x")
        langfuse_manager.trace_mcp_call("server", query="q", response="r", tool="search")
        with application.start_as_current_span("model", attributes={"gen_ai.system": "x"}):
            record("below a model")
    langfuse_manager.flush(10)
    backend.wait_for(8)
    langfuse.wait_for(6)
    chain, model = ("chain",), ("model", ("below a model",))
    inside = ("query", ("cursor", ("rerank", ("cache",))), chain, ("tools/call search",), model)
    assert backend.trees() == [("agent", inside)]
    assert langfuse.trees() == [("agent", ("rerank",), chain, ("server.search",), model)]
    assert "langfuse_integration" not in str([span.attributes for span in (*backend.spans, *langfuse.spans)])


def test_a_push_sends_rows_below_rows(langfuse: Receiver, backend: Backend, second: Backend, journal: Path) -> None:
    """A server that gets rows later, without the spans of other libraries, has them below the nearest row."""
    configure(destinations=[OtlpDestination(backend.url)], keep_delivered=True)
    ready()
    with langfuse_manager.trace_span("agent"), trace.get_tracer("app").start_as_current_span("query"):
        record("inner")
    langfuse_manager.flush(10)
    backend.wait_for(3)
    assert push_to(OtlpDestination(second.url), path=journal).delivered == 2
    assert second.trees() == [("agent", ("inner",))]


def test_spans_of_the_applications_own_provider_go_along(backend: Backend, receiver: Receiver, journal: Path) -> None:
    """The application's exporter and the destination have the same trees; each span is there once."""
    code = """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
        trace.set_tracer_provider(provider)
        langfuse_manager.set_session("s")
        application = trace.get_tracer("app")
        with application.start_as_current_span("request"), langfuse_manager.trace_span("agent"):
            with application.start_as_current_span("db query"):
                with application.start_as_current_span("cursor"), langfuse_manager.trace_span("generation"):
                    pass
        assert langfuse_manager.flush(30).pending == 0
    """
    run(code, journal, receiver, environment={"LANGFUSE_INTEGRATION_OTLP_ENDPOINT": backend.url})
    backend.wait_for(5)
    assert backend.trees() == [("request", ("agent", ("db query", ("cursor", ("generation",)))))]
    assert {span.name for span in receiver.spans} == {"agent", "generation"}


def test_spans_of_others_wait_like_rows(langfuse: Receiver, backend: Backend, journal: Path) -> None:
    """A span that only the destination gets waits in the journal while that is down, and is masked as rows are."""
    backend.refuse()
    configure(destinations=[OtlpDestination(backend.url)], mask=lambda *, data: str(data).replace("llama", "***"))
    ready()
    with langfuse_manager.trace_span("agent"), trace.get_tracer("app").start_as_current_span("query") as span:
        span.set_attribute("db.statement", "SELECT llama")
    langfuse_manager.flush(10)
    assert rows(journal, "SELECT count(*) FROM companions") == [(1,)]
    assert b"llama" not in rows(journal, "SELECT body FROM companions")[0][0]
    backend.listen()
    langfuse_manager.flush(10)
    backend.wait_for(2)
    assert backend.trees() == [("agent", ("query",))]
    until(lambda: rows(journal, "SELECT count(*) FROM companions") == [(0,)])
    assert rows(journal) == []


def test_beside_a_customised_client(langfuse: Receiver, backend: Backend, journal: Path) -> None:
    """A client with a mask of its own has the rows, and so has the destination, masked; none stays in the journal."""
    from langfuse import Langfuse

    configure(destinations=[OtlpDestination(backend.url)])
    client = Langfuse(mask=lambda *, data, **_: str(data).replace("llama", "***"))
    ready()
    with langfuse_manager.trace_span("outer", input="a llama"), trace.get_tracer("app").start_as_current_span("query"):
        record("inner")
    langfuse_manager.flush(10)
    client.flush()
    backend.wait_for(3)
    langfuse.wait_for(2)
    assert backend.trees() == [("outer", ("query", ("inner",)))]
    assert sorted(span.name for span in langfuse.spans) == ["inner", "outer"]
    assert {span.input for span in backend.spans if span.name == "outer"} == {"a ***"}
    assert backend.doubled() == {}
    assert langfuse_manager.stats.handed_over == 2
    until(lambda: counts() == [(3, 0, 0, 0)])
    assert rows(journal) == []


# -- what goes wrong elsewhere


def test_a_destination_that_hangs_holds_up_nobody(langfuse: Receiver, backend: Backend, second: Backend) -> None:
    """While one destination says nothing, Langfuse and the other get everything, and a flush does not wait for it."""
    release = threading.Event()
    backend.always(accepted_after(release))
    configure(destinations=[OtlpDestination(backend.url), OtlpDestination(second.url)])
    ids = record("a")
    backend.wait_for_requests(1)
    ids += record("b", "c")
    langfuse.wait_for(3)
    second.wait_for(3)
    assert backend.spans == []
    release.set()
    backend.wait_for(3)
    for receiver in (langfuse, backend, second):
        assert_once(receiver, ids)


def test_a_flush_does_not_wait_for_a_destination_that_fails(langfuse: Receiver, backend: Backend) -> None:
    """A destination that cannot be reached costs a flush no time."""
    backend.refuse()
    configure(destinations=[OtlpDestination(backend.url)])
    ids = record("a")
    assert langfuse_manager.flush(60) == (1, 0, 0)
    ids += record("b")
    assert langfuse_manager.flush(60) == (2, 0, 0)
    backend.listen()
    backend.wait_for(2)
    assert_once(backend, ids)


def test_a_row_that_one_destination_refuses_is_set_aside_there_only(
    langfuse: Receiver, backend: Backend, second: Backend, journal: Path
) -> None:
    """HTTP 400 for one row sets it aside for this destination; the others have it, and it stays in the journal."""
    backend.always(poison("bad"))
    configure(destinations=[OtlpDestination(backend.url, conventions=()), OtlpDestination(second.url)])
    good, bad = record("good", "fine"), record("bad")
    assert langfuse_manager.flush(10) == (3, 0, 0)
    until(lambda: counts() == [(2, 0, 1, 0), (3, 0, 0, 0)])
    assert_once(backend, good)
    assert_once(second, good + bad)
    assert rows(journal) == [(1, 1)]
    assert rows(journal, "SELECT state, reason FROM forwards WHERE state = 2") == [(2, "HTTP 400 (invalid span 'bad')")]


def test_a_row_that_a_destination_refused_before_it_went_on_is_delivered(langfuse: Receiver, backend: Backend) -> None:
    """A proxy refuses the first row alone, and takes the second: the first one is sent again, and not set aside."""
    seen: list[int] = []

    def recovering(exchange: Exchange) -> Answer:
        seen.append(len(exchange.spans))
        return Answer(400) if seen.count(1) < 2 else exchange.accept()

    backend.refuse()
    configure(destinations=[OtlpDestination(backend.url)])
    ids = record("first", "second")
    assert langfuse_manager.flush(60) == (2, 0, 0)
    backend.always(recovering)
    backend.listen()
    until(lambda: counts() == [(2, 0, 0, 0)])
    assert_once(backend, ids)
    assert seen == [2, 1, 1, 1]


def rejecting(count: int) -> Callable[[Exchange], Answer]:
    """Keep the spans, and answer that *count* of them were rejected."""

    def behave(exchange: Exchange) -> Answer:
        exchange.accept()
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = min(count, len(exchange.spans))
        response.partial_success.error_message = "too old"
        return Answer(200, response.SerializeToString(), {"Content-Type": "application/x-protobuf"})

    return behave


def test_rows_of_a_partial_success_are_not_sent_again(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """A server that rejected some rows of a request keeps the others: OTLP forbids to send them again."""
    backend.script(rejecting(1))
    configure(destinations=[OtlpDestination(backend.url)])
    record("a", "b", "c")
    langfuse_manager.flush(10)
    until(lambda: counts() == [(2, 0, 1, 0)])
    assert len(backend.requests) == 1
    assert "rejected: too old (1)" in caplog.text


def test_a_request_that_was_rejected_as_a_whole_is_divided(backend: Backend, journal: Path) -> None:
    """A server that rejects every row of each request has them set aside, each with the reason."""
    backend.always(rejecting(1))
    configure(destinations=[OtlpDestination(backend.url)])
    record("a")
    langfuse_manager.flush(10)
    until(lambda: counts() == [(0, 0, 1, 0)])
    assert rows(journal, "SELECT state, reason FROM forwards") == [(2, "rejected: too old")]


def web_page(exchange: Exchange) -> Answer:
    """Answer as a web server that knows no traces."""
    return Answer(200, b"<html>Welcome</html>", {"Content-Type": "text/html; charset=utf-8"})


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (web_page, "HTTP 200 with a web page: no receiver of OTLP traces is there; check the URL"),
        (redirect("https://user:secret@elsewhere.example.org/"), "it redirects to https://elsewhere.example.org/"),
        (status(404), "no receiver of OTLP traces is there; check the URL"),
        (status(401), "check the headers of this destination"),
        (status(415), "no receiver of OTLP traces is there; check the URL"),
    ],
    ids=["HTML", "redirect", "404", "401", "415"],
)
def test_what_is_no_receiver_loses_nothing(
    backend: Backend, caplog: pytest.LogCaptureFixture, behaviour: Any, message: str
) -> None:
    """An answer that no receiver of traces gives leaves the rows waiting, and one warning says what to check."""
    backend.always(behaviour)
    configure(destinations=[OtlpDestination(backend.url)])
    ids = record("a")
    langfuse_manager.flush(10)
    until(lambda: message in caplog.text)
    assert counts() == [(0, 1, 0, 0)]
    assert "secret" not in caplog.text
    backend.always(None)
    langfuse_manager.flush(10)
    backend.wait_for(1)
    assert_once(backend, ids)


def test_a_row_whose_journal_gives_it_up_counts_as_lost(backend: Backend) -> None:
    """What retention removes while it waits for a destination is counted there."""
    backend.always(status(503))
    configure(destinations=[OtlpDestination(backend.url)], journal_max_bytes=400_000)
    for number in range(40):
        with langfuse_manager.session(f"session {number}"), langfuse_manager.trace_span(f"span {number}") as span:
            span.update(input=[secrets.token_hex(8) for _ in range(2_000)])
        if number % 10 == 9:
            langfuse_manager.flush(10)
    langfuse_manager.flush(10)
    until(lambda: sum(counts()[0]) == 40)
    delivered, waiting, refused, lost = counts()[0]
    assert (delivered, refused) == (0, 0)
    assert lost > 0
    assert waiting == 40 - lost


# -- processes


def test_the_next_process_forwards_what_a_killed_one_left(backend: Backend, receiver: Receiver, journal: Path) -> None:
    """Rows that waited when their process was killed reach the destination from the next one, once; open ones, too."""
    backend.refuse()
    environment = {"LANGFUSE_INTEGRATION_OTLP_ENDPOINT": backend.url}
    code = """
        for number in range(20):
            with langfuse_manager.trace_span(f"span {number}") as span:
                print(span.id)
        still_open = langfuse_manager.trace_span("open").__enter__()
        print(still_open.id, flush=True)
        langfuse_manager.flush(10)
        print("flushed", flush=True)
        time.sleep(60)
    """
    with application(code, journal, receiver, environment=environment) as process:
        assert process.stdout is not None
        ids = [process.stdout.readline().strip() for _ in range(21)]
        assert process.stdout.readline().strip() == "flushed"
        process.kill()
        process.wait()
    backend.listen()
    own = run(NEXT, journal, receiver, environment=environment).strip()
    backend.wait_for(22)
    assert_once(backend, [*ids, own])
    assert_once(receiver, [*ids, own])
    assert rows(journal) == []


NEXT = """
    with langfuse_manager.trace_span("next") as span:
        print(span.id)
    assert langfuse_manager.flush(30).pending == 0
"""


@pytest.mark.application
def test_the_next_process_forwards_spans_of_others_that_a_killed_one_left(
    backend: Backend, second: Backend, receiver: Receiver, journal: Path
) -> None:
    """After a kill each destination has the whole tree: rows, spans of others among them, and their kinds."""
    for destination in (backend, second):
        destination.refuse()
    configured = textwrap.dedent(f"""
        from langfuse_integration import OtlpDestination, configure
        configure(destinations=[OtlpDestination({backend.url!r}), OtlpDestination({second.url!r})])
    """)
    code = """
        from opentelemetry import trace
        tracer = trace.get_tracer("a.database")
        with langfuse_manager.trace_span("outer"):
            with tracer.start_as_current_span("query", kind=trace.SpanKind.CLIENT):
                pass
            with langfuse_manager.trace_span("inner"):
                pass
        langfuse_manager.flush(10)
        print("flushed", flush=True)
        time.sleep(60)
    """
    with application(configured + textwrap.dedent(code), journal, receiver) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "flushed"
        process.kill()
        process.wait()
    for destination in (backend, second):
        destination.listen()
    run(configured + textwrap.dedent(NEXT), journal, receiver)
    for destination in (backend, second):
        destination.wait_for(4)
        assert sorted(destination.trees()) == [("next",), ("outer", ("query",), ("inner",))]
        kinds = {span.name: span.kind for span in destination.spans}
        assert (kinds["query"], kinds["outer"], len(destination.spans)) == ("CLIENT", "INTERNAL", 4)
    assert sorted(span.name for span in receiver.spans) == ["inner", "next", "outer"]
    assert rows(journal) == []


def test_a_process_without_the_destination_leaves_its_rows(backend: Backend, receiver: Receiver, journal: Path) -> None:
    """Another process that delivers a dead one's rows to Langfuse keeps those that a destination waits for."""
    backend.refuse()
    environment = {"LANGFUSE_INTEGRATION_OTLP_ENDPOINT": backend.url}
    first = run(NEXT, journal, receiver, environment=environment, logged="does not accept observations").strip()
    other = run(NEXT, journal, receiver).strip()
    assert_once(receiver, [first, other])
    assert rows(journal) == [(1, 1)]
    backend.listen()
    third = run(NEXT, journal, receiver, environment=environment).strip()
    backend.wait_for(2)
    assert_once(backend, [first, third])
    assert rows(journal) == []


def test_rows_kept_in_memory_reach_a_destination(backend: Backend, langfuse: Receiver) -> None:
    """With the journal switched off, a destination gets everything from memory."""
    configure(journal="off", destinations=[OtlpDestination(backend.url)])
    ids = record("a", "b")
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert_once(backend, ids)
    assert_once(langfuse, ids)


def test_rows_that_move_from_memory_to_the_file_are_forwarded_once(
    backend: Backend, second: Backend, langfuse: Receiver, tmp_path: Path
) -> None:
    """Rows that one destination has got from memory and another has not reach the other from the file, each once."""
    folder = tmp_path / "later"
    folder.write_text("a file where the folder will be")
    second.always(hang(0.2))
    configure(
        journal=folder / "journal.sqlite3", destinations=[OtlpDestination(backend.url), OtlpDestination(second.url)]
    )
    ids = record("a", "b")
    langfuse_manager.flush(10)
    backend.wait_for(2)
    folder.unlink()
    second.always(None)

    def moved() -> bool:
        langfuse_manager.flush(1)
        try:
            return len(second.spans) >= 2 and rows(folder / "journal.sqlite3") == []
        except sqlite3.OperationalError:  # the file is not there yet, or has no tables yet
            return False

    until(moved)
    for receiver in (langfuse, backend, second):
        assert_once(receiver, ids)


class Asked(FakeMessagesListChatModel):
    """A scripted model of OpenAI, whose answers name another model than the one that was asked for."""

    def _get_ls_params(self, stop: Any = None, **options: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}


@pytest.mark.langchain
def test_a_destination_has_the_model_that_was_asked_for(langfuse: Receiver, backend: Backend, journal: Path) -> None:
    """A destination has the model that was asked for beside the one that answered; Langfuse has that one alone."""
    configure(destinations=[OtlpDestination(backend.url)])
    model = Asked(responses=[AIMessage("Hay.", response_metadata={"model_name": "gpt-4o-2024-08-06"})])
    model.invoke("What do llamas eat?", {"callbacks": [SessionHandler()]})
    langfuse_manager.flush(10)
    backend.wait_for(1)
    (there,), (here,) = backend.spans, langfuse.spans
    assert there.name == "chat gpt-4o"
    assert there.attributes["gen_ai.request.model"] == "gpt-4o"
    assert there.attributes["gen_ai.response.model"] == "gpt-4o-2024-08-06"
    assert here.attributes["langfuse.observation.model.name"] == "gpt-4o-2024-08-06"
    for span in (here, there):
        assert not [key for key in span.attributes if key.startswith("langfuse_integration")]
    assert b"asked_model" not in langfuse.requests[0].request.body

"""inject and extract: a trace and its session go through services of our own, and through nobody else's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace

from hosts.serving import Uvicorn
from langfuse_integration import Session, langfuse_manager
from langfuse_integration.propagation import extract, inject
from langfuse_integration.testing import RecordedSessions
from peers.otlp import Receiver
from web import get


@pytest.fixture
def front(receiver: Receiver) -> Iterator[Uvicorn]:
    """Two services in processes of their own; the first calls the second."""
    environment = receiver.environment()
    with (
        Uvicorn("back:app", environment) as back,
        Uvicorn("front:app", {**environment, "BACK_URL": back.url}) as front,
    ):
        yield front


def test_a_trace_goes_through_services_with_its_session(front: Uvicorn, receiver: Receiver) -> None:
    """What the second service records stands in the caller's trace, session and user; what did not ask is untagged."""
    answers = get(f"{front.url}/ask", params={"user": "ä, b"}, timeout=60).json()
    known = {"session": "session of ä, b", "user": "ä, b"}
    assert answers == [known, known, {"session": None, "user": None}, known, known]
    spans = receiver.wait_for(8)
    by_name = {span.name: span for span in spans}
    joined = {"ask", "middleware", "by hook", "by hand", "by httpx"}
    assert Counter(span.name for span in spans) == {
        "ask": 1, "middleware": 2, "by hook": 1, "by hand": 1, "by httpx": 1, "doubted": 1, "by requests": 1
    }  # fmt: skip
    own = [span for span in spans if span.trace_id == by_name["ask"].trace_id and span.name != "doubted"]
    assert {span.name for span in own} == joined
    assert {(span.session_id, span.user_id) for span in own} == {("session of ä, b", "ä, b")}
    assert [span.name for span in own if span.attributes.get("langfuse.internal.is_app_root")] == []
    assert [span.name for span in own if span.parent_id is None] == ["ask"]
    # FastAPI's own span continues every caller's trace, so that "doubted" stands there too, in no session.
    whole = ("ask", ("by hand",), ("by httpx",), ("doubted",), ("middleware", ("by hook",)))
    assert receiver.trees(ordered=False).count(whole) == 1
    alone = by_name["by requests"]
    assert (alone.session_id, alone.user_id) == ("session of ä, b", "ä, b")
    assert alone.trace_id != by_name["ask"].trace_id
    assert (by_name["doubted"].session_id, by_name["doubted"].user_id) == (None, None)


def test_headers_hold_the_trace_and_the_session() -> None:
    """inject writes W3C headers: traceparent, and a baggage that Langfuse's own SDK understands too."""
    langfuse_manager.set_session("s 1", user_id="u")
    with langfuse_manager.trace_span("call") as span:
        headers = inject({"accept": "*/*"})
    assert headers == {
        "accept": "*/*",
        "traceparent": f"00-{span.trace_id}-{span.id}-01",
        "baggage": "session.id=s+1,langfuse_session_id=s+1,user.id=u,langfuse_user_id=u,"
        f"langfuse_trace_id={span.trace_id}",
    }


def test_nothing_is_written_where_nothing_is_known() -> None:
    """Without an observation and without a session the headers stay as they are."""
    assert inject({}) == {}
    with extract({"accept": "*/*"}) as found:
        assert found.session is None
        assert inject({}) == {}


def test_a_strangers_session_is_not_passed_on() -> None:
    """A session that came in with a request's baggage, but was not extracted, does not go out again; the rest does."""
    forged = baggage.set_baggage("session.id", "stolen")
    forged = baggage.set_baggage("langfuse_user_id", "somebody", forged)
    forged = baggage.set_baggage("langfuse_trace_id", "0" * 31 + "1", forged)
    token = context.attach(baggage.set_baggage("region", "north", forged))
    try:
        assert inject({}) == {"baggage": "region=north"}
        langfuse_manager.set_session("mine")
        entries = set(inject({})["baggage"].split(","))
        assert entries == {"region=north", "session.id=mine", "langfuse_session_id=mine"}
    finally:
        context.detach(token)


def test_extract_restores_what_was_before(sessions: RecordedSessions) -> None:
    """Inside the block work is the caller's, also in a service with a session of its own; after it nothing is left."""
    langfuse_manager.set_session("theirs", user_id="u")
    with langfuse_manager.trace_span("caller") as caller:
        headers = {name.title(): value for name, value in inject({}).items()}
    langfuse_manager.set_session("mine")
    with extract(headers) as found:
        assert found.session == Session("theirs", "u")
        with langfuse_manager.trace_span("called") as called:
            assert langfuse_manager.current_session_id == "theirs"
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert baggage.get_all() == {}
    with langfuse_manager.trace_span("after") as after:
        pass
    assert (called.trace_id, called.parent_id, called.app_root) == (caller.trace_id, caller.id, False)
    assert (after.parent_id, after.app_root) == (None, True)
    assert {found.name: found.session_id for found in sessions.observations} == {
        "caller": "theirs", "called": "theirs", "after": "mine"
    }  # fmt: skip


def test_a_span_that_upstream_does_not_send_is_no_parent_of_ours(sessions: RecordedSessions) -> None:
    """A traceparent without the claim joins the trace, but what starts below it is the application's root."""
    with (
        extract({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
        langfuse_manager.trace_span("called") as called,
    ):
        assert "langfuse_trace_id" in inject({})["baggage"]
    assert (called.trace_id, called.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert called.app_root


IDS = st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable() and bool(text.strip()))


@given(session_id=IDS, user_id=st.none() | IDS)
def test_any_session_comes_out_as_it_went_in(session_id: str, user_id: str | None) -> None:
    """Whatever characters an id has, the next service has the same id, or none; never another one."""
    session = Session(session_id, user_id)
    with langfuse_manager.session(session_id, user_id):
        headers = inject({})
    told = extract([(name.encode(), value.encode("ascii")) for name, value in headers.items()]).session
    assert told == session


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage"]), st.text()))
def test_whatever_comes_in_changes_at_most_the_session(headers: dict[str, str]) -> None:
    """Rubbish in the headers never raises."""
    with extract(headers), langfuse_manager.trace_span("called"):
        inject({})
    assert langfuse_manager.current_session is None

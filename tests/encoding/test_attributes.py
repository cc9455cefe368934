"""Trace attributes on every row, and what a failed observation has: in the words of Langfuse."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from langfuse import observe, propagate_attributes
from opentelemetry import trace

from langfuse_integration import configure, langfuse_manager
from langfuse_integration.encoding.attributes import failed_attributes
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import RunStart
from langfuse_integration.sessions.session import Session
from langfuse_integration.testing import Observed, RecordedSessions
from peers.otlp import Receiver

NAMES = {
    "session.id": "session",
    "user.id": "user",
    "langfuse.trace.tags": "tags",
    "langfuse.trace.name": "trace_name",
    "langfuse.version": "version",
    "langfuse.environment": "environment",
    "langfuse.release": "release",
    "langfuse.trace.metadata.plan": "plan",
    "langfuse.trace.metadata.tenant": "tenant",
}


def told(row: Observed) -> dict[str, Any]:
    """Return the trace attributes of a row, by short names."""
    return {name: row.attributes[key] for key, name in NAMES.items() if key in row.attributes}


def rows(sessions: RecordedSessions) -> dict[str, dict[str, Any]]:
    """Return the trace attributes of each row, by the row's name."""
    return {row.name: told(row) for row in sessions.observations}


def two_rows() -> None:
    """Record a root and a child."""
    with langfuse_manager.trace_span("root"), langfuse_manager.trace_span("child"):
        pass


def test_every_attribute_of_a_session_is_on_every_row(langfuse: Receiver) -> None:
    """Session, user, tags, trace name, metadata, version, environment and release are on the root and on the child."""
    configure(release="r-1", environment="staging")
    with langfuse_manager.session(
        "s-1", "u-1", tags=["vip"], metadata={"plan": "free"}, trace_name="checkout", version="v-2", environment="eu"
    ):
        two_rows()
    two_rows()
    assert langfuse_manager.flush(20) == (4, 0, 0)
    inside = [row for row in langfuse.spans if "session.id" in row.attributes]
    assert [{name: row.attributes.get(key) for key, name in NAMES.items()} for row in inside] == [
        {
            "session": "s-1",
            "user": "u-1",
            "tags": ["vip"],
            "trace_name": "checkout",
            "version": "v-2",
            "environment": "eu",
            "release": "r-1",
            "plan": "free",
            "tenant": None,
        }
    ] * 2
    outside = [row for row in langfuse.spans if "session.id" not in row.attributes]
    assert [row.attributes["langfuse.environment"] for row in outside] == ["staging"] * 2
    assert not [key for row in outside for key in row.attributes if key.startswith("langfuse.trace.")]


EVERYTHING: dict[str, Any] = {
    "session_id": "s-1",
    "user_id": "u-1",
    "tags": ["vip"],
    "metadata": {"tenant": "acme"},
    "trace_name": "checkout",
    "version": "v-2",
    "environment": "eu",
}
IN_A_ROW = {
    "session": "s-1",
    "user": "u-1",
    "tags": ["vip"],
    "tenant": "acme",
    "trace_name": "checkout",
    "version": "v-2",
    "environment": "eu",
}


ARGUMENTS = inspect.signature(propagate_attributes).parameters
"""What the installed release of Langfuse's SDK takes; 4.7 knows neither `environment` nor `prompt`."""


@pytest.mark.skipif("environment" not in ARGUMENTS, reason="this release of langfuse carries no environment")
def test_all_that_propagate_attributes_carries_counts(sessions: RecordedSessions) -> None:
    """Around and within a span; text in its metadata is text, as in our own."""
    with propagate_attributes(**EVERYTHING):
        two_rows()
    within = langfuse_manager.trace_span("within")
    with langfuse_manager.trace_span("around"), propagate_attributes(**EVERYTHING), within:
        pass
    assert list(rows(sessions)) == ["root", "child", "around", "within"]
    assert [row for row in rows(sessions).values() if row != IN_A_ROW] == []


@pytest.mark.skipif("prompt" not in ARGUMENTS, reason="this release of langfuse carries no prompt")
def test_a_propagated_prompt_is_linked_to_generations_only(sessions: RecordedSessions) -> None:
    """The prompt is on generations without one of their own, and on no other row."""
    prompt = {"name": "greeting", "version": 3}
    model_span = langfuse_manager.trace_span("model", as_type="generation")
    with propagate_attributes(prompt=prompt), langfuse_manager.trace_span("root"), model_span:
        pass
    root, model = sessions.trace().observations
    assert "langfuse.observation.prompt.name" not in root.attributes
    assert model.attributes["langfuse.observation.prompt.name"] == "greeting"
    assert model.attributes["langfuse.observation.prompt.version"] == 3


def test_our_session_goes_before_what_is_propagated(sessions: RecordedSessions) -> None:
    """What our session leaves open is taken from propagate_attributes; tags and metadata are put together."""
    theirs = {"tags": ["theirs"], "metadata": {"plan": "paid", "tenant": "acme"}, "version": "v-2"}
    ours = langfuse_manager.session("s-1", tags=["ours"], metadata={"plan": "free"}, version="v-1")
    with ours, propagate_attributes(user_id="u-1", **theirs):  # type: ignore[arg-type]
        two_rows()
    expected = {"session": "s-1", "user": "u-1", "tags": ["theirs", "ours"], "version": "v-1"}
    expected |= {"plan": "free", "tenant": "acme"}
    assert rows(sessions) == {"root": expected, "child": expected}


def test_nothing_is_taken_from_another_propagated_session(sessions: RecordedSessions) -> None:
    """Another session's user and tags are not this one's; nothing reaches a cleared context."""
    with propagate_attributes(session_id="s-2", user_id="u-2", tags=["theirs"]):
        with langfuse_manager.session("s-1"):
            two_rows()
        with langfuse_manager.detached(), langfuse_manager.trace_span("nobody's"):
            pass
    assert rows(sessions) == {"root": {"session": "s-1"}, "child": {"session": "s-1"}, "nobody's": {}}


def test_a_propagated_user_within_a_span_keeps_its_session(sessions: RecordedSessions) -> None:
    """What is propagated without a session adds to the session of the span around it."""
    with langfuse_manager.session("s-1", tags=["a"]):
        span = langfuse_manager.trace_span("root")
        span.__enter__()
    with propagate_attributes(user_id="u-1", tags=["b"]), langfuse_manager.trace_span("child"):
        pass
    span.__exit__(None, None, None)
    assert rows(sessions)["child"] == {"session": "s-1", "user": "u-1", "tags": ["a", "b"]}


def test_spans_of_other_libraries_carry_the_same(langfuse: Receiver) -> None:
    """Spans with tags of their own get the session's attributes too; a span of another session keeps its own."""
    configure(environment="staging")
    tracer = trace.get_tracer("openinference.instrumentation.any")
    session = langfuse_manager.session(
        "s-1", "u-1", tags=["vip"], metadata={"plan": "free"}, trace_name="checkout", version="v-2", environment="eu"
    )
    own = {"langfuse.trace.tags": ["own"], "langfuse.version": "own"}
    other = {"session.id": "s-2"}
    with session:
        for name, attributes in (("plain", {}), ("own", own), ("other", other)):
            with tracer.start_as_current_span(name, attributes={"gen_ai.operation.name": "chat", **attributes}):  # type: ignore[dict-item]
                pass
    assert langfuse_manager.flush(20) == (3, 0, 0)
    found = {
        row.name: {NAMES[key]: value for key, value in row.attributes.items() if key in NAMES} for row in langfuse.spans
    }
    plain = {"session": "s-1", "user": "u-1", "tags": ["vip"], "plan": "free"}
    plain |= {"trace_name": "checkout", "version": "v-2", "environment": "eu"}
    assert found == {
        "plain": plain,
        "own": {**plain, "tags": ["own", "vip"], "version": "own"},
        "other": {"session": "s-2", "environment": "staging"},
    }


def test_what_the_sdk_observes_carries_what_both_propagate(sessions: RecordedSessions) -> None:
    """A span of `@observe` in our session and within propagate_attributes has the tags and metadata of both."""

    @observe()
    def feed() -> None:
        """The observed function has no body."""

    ours = langfuse_manager.session("s-1", tags=["ours"], metadata={"plan": "free"})
    theirs = propagate_attributes(tags=["theirs"], metadata={"tenant": "acme"})
    with ours, theirs, langfuse_manager.trace_span("around"):
        feed()
    expected = {"session": "s-1", "plan": "free", "tenant": "acme"}
    for row in sessions.observations:
        assert sorted(told(row).pop("tags")) == ["ours", "theirs"]
        assert {name: value for name, value in told(row).items() if name in expected} == expected
    assert {row.name for row in sessions.observations} == {"around", "feed"}


@pytest.mark.parametrize("within_a_span", [False, True])
def test_one_order_of_precedence_within_a_span_and_without(sessions: RecordedSessions, within_a_span: bool) -> None:
    """A handler's own goes before a run's configuration, that before the active session; tags are put together."""

    def run() -> None:
        start = RunStart()
        start.key, start.name = object(), "run"
        start.named = Session(None, "configured", tags=["configured"], trace_name="configured", version="configured")
        start.session = Session(None, "handler's", tags=["handler's"], trace_name="handler's")
        opened = tracing.open_run(start)
        assert opened is not None
        tracing.registry.close(start.key)
        opened.observation.finish()

    with langfuse_manager.session(
        "s-1", "active", tags=["active"], trace_name="active", version="active", environment="eu"
    ):
        if within_a_span:
            with langfuse_manager.trace_span("span"):
                run()
        else:
            run()
    assert rows(sessions)["run"] == {
        "session": "s-1",
        "user": "handler's",
        "tags": ["active", "configured", "handler's"],
        "trace_name": "handler's",
        "version": "configured",
        "environment": "eu",
    }


def failing(error: Exception, as_type: Any = "generation", **values: Any) -> None:
    """Record a call that fails after *values* are known."""
    try:
        with langfuse_manager.trace_span("failed", as_type=as_type, input="Hello?") as span:
            span.update(**values)
            raise error
    except type(error):
        pass


def test_a_failed_model_call_costs_nothing_and_shows_its_error(langfuse: Receiver) -> None:
    """Langfuse would count and price its texts; its error is the output, and the local replay shows it once."""
    failing(ConnectionError("refused"), model="gpt-4o")
    assert langfuse_manager.flush(20) == (1, 0, 0)
    (row,) = langfuse.spans
    assert row.attributes["langfuse.observation.cost_details"] == '{"total":0}'
    assert row.attributes["langfuse.observation.output"] == "ConnectionError: refused"
    assert row.attributes["langfuse.observation.status_message"] == "ConnectionError: refused"


def test_what_a_failed_call_has_used_keeps_its_price(sessions: RecordedSessions) -> None:
    """Usage, a cost and an output that are known stay; other types and calls that succeed get no cost."""
    for as_type, usage, output in (("generation", {"input": 3}, "Hm"), ("tool", None, None)):
        failing(ValueError("late"), as_type, usage_details=usage, output=output)
    with langfuse_manager.trace_span("fine", as_type="generation") as span:
        span.update(model="gpt-4o", output="Hi")
    failed, tool, fine = sessions.observations
    assert (failed.cost, json.loads(failed.attributes["langfuse.observation.usage_details"])) == ({}, {"input": 3})
    assert failed.output == "Hm"
    assert (tool.cost, tool.output, tool.attributes["langfuse.observation.output"]) == ({}, None, "ValueError: late")
    assert fine.cost == {}


def test_a_failed_call_that_has_all_gets_nothing() -> None:
    """Nothing is put over what is there."""
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.output": "Hm"}
    assert failed_attributes({**attributes, "langfuse.observation.cost_details": "{}"}, "late") == {}


def test_rows_name_a_scope_and_a_version_that_langfuse_knows(langfuse: Receiver) -> None:
    """With them, Langfuse neither repeats all attributes in the metadata nor lists every row as a root."""
    two_rows()
    assert langfuse_manager.flush(20) == (2, 0, 0)
    assert {row.scope for row in langfuse.spans} == {"langfuse-sdk.integration"}
    headers = langfuse.requests[0].request.headers
    assert headers["x-langfuse-sdk-name"] == "python"
    assert tuple(map(int, headers["x-langfuse-sdk-version"].split("."))) >= (4, 7, 0)

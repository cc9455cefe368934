"""Scores that the application makes through Langfuse's client: in our journal, and sent as the SDK sends them."""

from __future__ import annotations

import datetime
from inspect import signature
from typing import Any

import pytest
from langfuse import Langfuse, get_client, observe, propagate_attributes

from fresh import run_warm
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.recording import tracing
from peers.otlp import Receiver

AT = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
TRACE = "0123456789abcdef0123456789abcdef"


def by_name(receiver: Receiver, count: int) -> dict[str, dict[str, Any]]:
    """Return the scores by name; the client's own queue may send some."""
    langfuse_manager.flush(10)
    receiver.wait_until(lambda: len(receiver.scores) >= count)
    assert len(receiver.scores) == count
    return {score["name"]: score for score in receiver.scores}


@pytest.mark.parametrize("client_first", [True, False])
def test_every_field_of_a_score_arrives(client_first: bool, langfuse: Receiver) -> None:
    """Trace, session and dataset run, type, config, metadata, time and environment are as the client says."""
    if not client_first:
        tracing.hooks.ready()
    client = Langfuse(environment="staging")
    tracing.hooks.ready()
    # Langfuse 4.7 takes the environment of the client for every score
    own = {"environment": "evaluation"} if "environment" in signature(client.create_score).parameters else {}
    client.create_score(
        name="full", value=1, trace_id=TRACE, observation_id="00000000000000aa", score_id="my-id", data_type="BOOLEAN",
        comment="well", config_id="c-1", metadata={"by": ["judge", 2]}, timestamp=AT, **own,
    )  # fmt: skip
    client.create_score(name="session", value="warm", session_id="s-1")
    client.create_score(name="run", value=0.5, dataset_run_id="r-1")
    client.create_score(name="correction", value="better", trace_id=TRACE, data_type="CORRECTION")
    client.flush()
    scores = by_name(langfuse, 4)
    full = scores["full"]
    assert full.pop("timestamp").startswith("2026-11-28T12:00:00")
    assert full == {
        "id": "my-id", "name": "full", "value": 1.0, "traceId": TRACE, "observationId": "00000000000000aa",
        "dataType": "BOOLEAN", "comment": "well", "configId": "c-1", "metadata": {"by": ["judge", 2]},
        "environment": own.get("environment", "staging"),
    }  # fmt: skip
    assert (scores["session"]["sessionId"], scores["session"]["value"]) == ("s-1", "warm")
    assert "traceId" not in scores["session"]
    assert scores["session"]["environment"] == "staging"
    assert scores["run"]["datasetRunId"] == "r-1"
    assert scores["correction"]["dataType"] == "CORRECTION"


def test_scores_of_spans_stay_with_them(langfuse: Receiver) -> None:
    """`span.score`, `score_current_span` and `score_current_trace` below @observe and ours, in a session of the SDK."""

    @observe()
    def work() -> None:
        get_client().score_current_span(name="quality", value=0.9)
        get_client().score_current_trace(name="verdict", value="fine")

    with propagate_attributes(session_id="s-1"), langfuse_manager.trace_span("ours"):
        work()
        with get_client().start_as_current_observation(name="theirs") as span:
            span.score(name="direct", value=1)
    scores = by_name(langfuse, 3)
    rows = {row.name: row for row in langfuse.spans}
    assert {score["traceId"] for score in scores.values()} == {rows["ours"].trace_id}
    observations = {name: score.get("observationId") for name, score in scores.items()}
    assert observations == {"quality": rows["work"].span_id, "verdict": None, "direct": rows["theirs"].span_id}


def test_masks_hold_for_scores(langfuse: Receiver) -> None:
    """Comment and metadata of a score go through the mask; without content they are not sent."""
    configure(mask=lambda *, data: "***" if isinstance(data, str) else dict.fromkeys(data, "***"))
    tracing.hooks.ready()
    get_client().create_score(name="a", value=1, trace_id=TRACE, comment="secret", metadata={"key": "secret"})
    langfuse_manager.flush(10)
    configure(mask=None, capture="metrics")
    get_client().create_score(name="b", value=1, trace_id=TRACE, comment="secret", metadata={"key": "secret"})
    scores = by_name(langfuse, 2)
    assert (scores["a"]["comment"], scores["a"]["metadata"]) == ("***", {"key": "***"})
    assert "secret" not in str(scores["b"])


def test_other_scores_go_the_clients_own_way(langfuse: Receiver) -> None:
    """A trace id that is not OpenTelemetry's, and a client with a mask of its own: the client sends the score."""
    tracing.hooks.ready()
    get_client().create_score(name="legacy", value=1, trace_id="order-4711")
    get_client().flush()
    by_name(langfuse, 1)
    client = Langfuse(public_key="pk-lf-other", secret_key="sk", base_url=langfuse.url, mask=lambda *, data, **_: data)
    client.create_score(name="masked", value=1, trace_id=TRACE)
    client.flush()
    assert langfuse_manager.flush(5) == (0, 0, 0)


OUTAGE = """
    import os
    from langfuse import get_client, observe
    client = get_client() if "%s" == "client" else None
    from langfuse_integration import langfuse_manager

    @observe()
    def work():
        get_client().score_current_span(name="quality", value=0.9, metadata={"by": "judge"})
        get_client().score_current_trace(name="verdict", value="fine")

    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("ours"):
        work()
    langfuse_manager.flush(1)
    os._exit(0)
"""
NEXT = """
    from langfuse_integration import langfuse_manager
    with langfuse_manager.trace_span("next"):
        pass
    langfuse_manager.flush(20)
"""


@pytest.mark.parametrize("first", ["client", "ours"])
def test_scores_outlive_an_outage_and_a_kill(first: str, receiver: Receiver) -> None:
    """Whoever was first: what was scored while Langfuse was away arrives from the next process, once."""
    keys = receiver.environment()
    receiver.refuse()
    run_warm(OUTAGE % first, keys)
    receiver.listen()
    run_warm(NEXT, {**keys, "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "20"})
    receiver.wait_for(3)
    receiver.wait_until(lambda: len(receiver.scores) == 2)
    rows = {row.name: row for row in receiver.spans}
    scores = {score["name"]: score for score in receiver.scores}
    assert scores["quality"]["observationId"] == rows["work"].span_id
    assert scores["quality"]["metadata"] == {"by": "judge"}
    assert {score["traceId"] for score in scores.values()} == {rows["ours"].trace_id}

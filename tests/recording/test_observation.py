"""Updating an observation: what is given counts, None keeps, unknown names are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions


def test_each_change_arrives_where_langfuse_shows_it(sessions: RecordedSessions) -> None:
    """Every name that update takes sets its field, and metadata is merged by key."""
    arguments = {"temperature": 0.5}
    with langfuse_manager.trace_span("old", as_type="generation", metadata={"kept": 1}) as span:
        returned = span.update(
            name="new",
            input={"q": 1},
            output=["a"],
            metadata={"added": 2},
            level="WARNING",
            status_message="slow",
            model="m-1",
            model_parameters=arguments,
            usage_details={"input": 3},
            cost_details={"input": 0.25},
            completion_start_time=datetime(2030, 1, 1, tzinfo=UTC),
            prompt=SimpleNamespace(name="greeting", version=7),
            version="v1",
        )
        arguments["temperature"] = 1.0
        assert returned is span
    row = sessions.observations[0]
    assert (row.name, row.input, row.output, row.level, row.status_message) == (
        "new",
        {"q": 1},
        ["a"],
        "WARNING",
        "slow",
    )
    assert (span.model, span.model_parameters, span.usage_details) == ("m-1", {"temperature": 0.5}, {"input": 3})
    assert {key: row.metadata[key] for key in ("kept", "added")} == {"kept": 1, "added": 2}
    assert span.prompt == ("greeting", 7)
    assert span.first_token_ns == 1_893_456_000_000_000_000
    assert (span.version, span.cost_details) == ("v1", {"input": 0.25})


def test_none_keeps_what_is_there(sessions: RecordedSessions) -> None:
    """A change of None changes nothing, and neither does one after the end."""
    with langfuse_manager.trace_span("step", input="asked") as span:
        span.update(input=None, name=None)
    span.update(output="too late")
    assert [(row.name, row.input, row.output) for row in sessions.observations] == [("step", "asked", None)]


@pytest.mark.parametrize("ended", [False, True])
def test_an_unknown_name_is_refused(sessions: RecordedSessions, ended: bool) -> None:
    """A misspelt name raises TypeError, as any Python call does, and says which names there are."""
    with langfuse_manager.trace_span("step") as span:
        if not ended:
            with pytest.raises(TypeError, match=r"update\(\) takes name, input, .* not outptu"):
                span.update(outptu="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    if ended:
        with pytest.raises(TypeError):
            span.update(outptu="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

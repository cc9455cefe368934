"""Tags, trace name, metadata and user on every row of a LangChain run, from every source, in one order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda
from langfuse import propagate_attributes
from langgraph.graph import START, StateGraph

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler

pytestmark = pytest.mark.langchain

Runnable = Any


def chain() -> Runnable:
    """A model and a parser: two rows."""
    return FakeListChatModel(responses=["Hay."]) | StrOutputParser()


def graph() -> Runnable:
    """A graph whose node calls a model and another chain."""

    def node(state: dict[str, Any]) -> dict[str, Any]:
        model = FakeListChatModel(responses=["Hay."])
        return {"said": RunnableLambda(lambda text: text, name="inner").invoke(model.invoke("?").content)}

    builder = StateGraph(dict)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile()


def invoke(runnable: Runnable, config: Any) -> None:
    """Run once."""
    runnable.invoke({"said": ""} if hasattr(runnable, "nodes") else "?", config)


def ainvoke(runnable: Runnable, config: Any) -> None:
    """Run once, async."""
    asyncio.run(runnable.ainvoke({"said": ""} if hasattr(runnable, "nodes") else "?", config))


def stream(runnable: Runnable, config: Any) -> None:
    """Run once, streamed."""
    list(runnable.stream({"said": ""} if hasattr(runnable, "nodes") else "?", config))


def batch(runnable: Runnable, config: Any) -> None:
    """Run twice, in threads."""
    given: Any = {"said": ""} if hasattr(runnable, "nodes") else "?"
    runnable.batch([given, given], config)


every_way = pytest.mark.parametrize("run", [invoke, ainvoke, stream, batch])
every_kind = pytest.mark.parametrize("make", [chain, graph])
Run = Callable[[Runnable, Any], None]


def attributes(sessions: RecordedSessions) -> list[tuple[Any, ...]]:
    """Return what the rows below the application's own span say, each different answer once."""
    keys = ("session.id", "user.id", "langfuse.trace.name", "langfuse.trace.metadata.tenant")
    answers: list[tuple[Any, ...]] = []
    for row in sessions.observations:
        tags = tuple(sorted(row.attributes.get("langfuse.trace.tags", ())))
        answer = (*(row.attributes.get(key) for key in keys), tags)
        if row.name != "around" and answer not in answers:
            answers.append(answer)
    return answers


@every_way
@every_kind
@pytest.mark.parametrize("within_a_span", [False, True])
def test_the_config_of_a_run_is_on_every_row(
    sessions: RecordedSessions, run: Run, make: Callable[[], Runnable], within_a_span: bool
) -> None:
    """Session, user, trace name, tags and metadata: below a span of the application as without one."""
    config = {
        "callbacks": [SessionHandler()],
        "tags": ["beta"],
        "metadata": {
            "langfuse_session_id": "chat-1",
            "langfuse_user_id": "alice",
            "langfuse_trace_name": "checkout",
            "langfuse_tags": ["barn"],
            "tenant": "acme",
            "question": "?" * 201,
        },
    }
    with langfuse_manager.trace_span("around") if within_a_span else contextlib.nullcontext():
        run(make(), config)
    assert attributes(sessions) == [("chat-1", "alice", "checkout", "acme", ("barn", "beta"))]
    assert sum(row.type == "generation" for row in sessions.observations) == (2 if run is batch else 1)


@every_kind
@pytest.mark.parametrize("within_a_span", [False, True])
def test_all_sources_at_once(sessions: RecordedSessions, make: Callable[[], Runnable], within_a_span: bool) -> None:
    """The handler's user, the config's name, the session's id and the propagated metadata; tags of all four."""
    config = {
        "callbacks": [SessionHandler(user_id="handler", tags=["handler"])],
        "tags": ["config"],
        "metadata": {"langfuse_user_id": "config", "langfuse_trace_name": "config"},
    }
    active = langfuse_manager.session("chat-1", "active", tags=["active"], trace_name="active")
    carried = propagate_attributes(
        user_id="carried", tags=["carried"], metadata={"tenant": "acme"}, trace_name="carried"
    )
    with active, carried, langfuse_manager.trace_span("around") if within_a_span else contextlib.nullcontext():
        invoke(make(), config)
    tags = ("active", "carried", "config", "handler")
    assert attributes(sessions) == [("chat-1", "handler", "config", "acme", tags)]


@every_way
def test_two_users_at_once_do_not_mix(sessions: RecordedSessions, run: Run) -> None:
    """One handler, two configs in turn: nothing of the first is on the second's rows, and none after them is tagged."""
    handler = SessionHandler()
    for user in ("alice", "bob"):
        metadata = {"langfuse_session_id": f"chat-{user}", "langfuse_user_id": user, "tenant": user}
        run(chain(), {"callbacks": [handler], "metadata": metadata, "tags": [user]})
    run(chain(), {"callbacks": [handler]})
    assert attributes(sessions) == [
        ("chat-alice", "alice", None, "alice", ("alice",)),
        ("chat-bob", "bob", None, "bob", ("bob",)),
        (None, None, None, None, ()),
    ]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"langfuse_user_id": 42}, "user_id must be a str"),
        ({"langfuse_user_id": ""}, "user_id '' is blank"),
        ({"langfuse_tags": "prod"}, "tags must be a list"),
        ({"langfuse_tags": ["ok", "x" * 201]}, "has 201 characters"),
        ({"langfuse_trace_name": ["a"]}, "trace_name must be a str"),
    ],
)
def test_an_unusable_value_costs_only_itself(
    sessions: RecordedSessions, bad: dict[str, Any], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The session and the run's tags stay; one warning names the value, however often it comes."""
    for _ in range(2):
        metadata = {"langfuse_session_id": "chat-1", **bad}
        invoke(chain(), {"callbacks": [SessionHandler()], "metadata": metadata, "tags": ["kept"]})
    tags = ("kept", "ok") if "ok" in str(bad) else ("kept",)
    assert attributes(sessions) == [("chat-1", None, None, None, tags)]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert named in warnings[0]
    assert "the metadata of a LangChain run" in warnings[0]

"""The guide's API, word for word."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from langfuse_integration import LangfuseManager, Observation, configure, langfuse_manager
from langfuse_integration.testing import RecordedSessions


def test_the_quick_start(sessions: RecordedSessions) -> None:
    """Once a session is set, every span, agent step and MCP call is in it."""
    session_id = "session-123"
    user_id = "user-456"

    langfuse_manager.set_session(session_id, user_id=user_id)
    with langfuse_manager.trace_span("user_query"):
        pass
    langfuse_manager.trace_agent_step(step_type="think", input_data="user input", output_data="agent thought")
    langfuse_manager.trace_mcp_call(server_name="llama-mcp", query="search query", response="search results")
    langfuse_manager.clear_session()

    session = sessions.one()
    assert (session.session_id, session.users) == (session_id, [user_id])
    assert [trace.tree() for trace in session.traces] == [["span user_query"], ["agent think"], ["tool llama-mcp"]]
    think, call = session.observations[1:]
    assert (think.input, think.output, think.metadata) == ("user input", "agent thought", {"step_type": "think"})
    assert (call.input, call.output) == ("search query", "search results")
    assert call.metadata == {"mcp_server": "llama-mcp", "mcp_method": "tools/call"}


def test_the_properties_and_their_endings() -> None:
    """current_session_id and current_user_id follow what is set and cleared."""
    langfuse_manager.set_session("session-abc123", user_id="user-xyz")
    assert f"Current session: {langfuse_manager.current_session_id}" == "Current session: session-abc123"
    langfuse_manager.set_user("user-2")
    assert f"Current user: {langfuse_manager.current_user_id}" == "Current user: user-2"
    assert langfuse_manager.current_session_id == "session-abc123"
    langfuse_manager.clear_session()
    assert (langfuse_manager.current_session_id, langfuse_manager.current_user_id) == (None, None)


def test_the_chat_application_without_its_page(sessions: RecordedSessions) -> None:
    """Each message is a trace with its message count, all in the chat's session."""
    langfuse_manager.set_session(f"chat-{uuid.uuid4().hex[:8]}", user_id="anonymous")
    messages: list[str] = []
    for prompt in ("hello", "and then?"):
        messages.append(prompt)
        with langfuse_manager.trace_span("chat_message", metadata={"message_count": len(messages)}):
            messages.append("answer to " + prompt)
    assert [found.metadata for found in sessions.one().observations] == [{"message_count": 1}, {"message_count": 3}]


def test_steps_have_the_types_that_a_replay_needs(sessions: RecordedSessions) -> None:
    """think is an agent observation, act a tool, any other step a span; inside a span they are its children."""
    with langfuse_manager.session("s"), langfuse_manager.trace_span("query", input={"q": 1}, as_type="chain") as query:
        langfuse_manager.trace_agent_step("think", {"q": 1}, {"plan": ["search"]})
        langfuse_manager.trace_agent_step("act", "search", "found", name="search", metadata={"k": 2})
        langfuse_manager.trace_agent_step("reflect", "found", "good")
        langfuse_manager.trace_mcp_call("llama-mcp", {"query": "x"}, "boom", tool="search", is_error=True)
        query.update(output=42, metadata={"done": True}, level="WARNING", status_message="slow")
    trace = sessions.trace()
    assert trace.tree() == [
        {"chain query": ["agent think", "tool search", "span reflect", "tool llama-mcp.search"]},
    ]
    query_row, _, act, _, call = trace.observations
    assert (query_row.input, query_row.output, query_row.level) == ({"q": 1}, 42, "WARNING")
    assert act.metadata == {"k": 2, "step_type": "act"}
    assert (call.level, call.status_message, call.metadata["mcp_tool"]) == ("ERROR", "tool_error", "search")


def test_an_exception_makes_the_span_an_error_and_goes_on(sessions: RecordedSessions) -> None:
    """The application sees its own exception; cancellation and exits are no errors."""
    for error in (ValueError("no such city"), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(3)):
        with pytest.raises(type(error)), langfuse_manager.trace_span(type(error).__name__):
            raise error
    assert {found.name: (found.level, found.status_message) for found in sessions.observations} == {
        "ValueError": ("ERROR", "ValueError: no such city"),
        "KeyboardInterrupt": ("DEFAULT", "KeyboardInterrupt"),
        "CancelledError": ("DEFAULT", "cancelled"),
        "SystemExit": ("DEFAULT", "SystemExit"),
    }


def test_a_span_works_in_async_code(sessions: RecordedSessions) -> None:
    """Spans of concurrent tasks nest under their own task's span, each in its own session."""

    async def visit(name: str) -> None:
        async with langfuse_manager.session(name, user_id=name), langfuse_manager.trace_span("outer"):
            await asyncio.sleep(0)
            async with langfuse_manager.trace_span("inner"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(visit(f"s-{index}") for index in range(20)))

    asyncio.run(main())
    assert len(sessions.all) == 20
    for session in sessions.all:
        assert [trace.tree() for trace in session.traces] == [[{"span outer": ["span inner"]}]]
        assert session.users == [session.session_id]


def test_the_current_observation_is_the_one_around_this_line(sessions: RecordedSessions) -> None:
    """current_observation can be updated and scored where the span itself is out of reach."""
    assert langfuse_manager.current_observation is None

    def deep_inside() -> None:
        found = langfuse_manager.current_observation
        assert isinstance(found, Observation)
        found.update(metadata={"seen": True})
        found.score("helpful", 0.5, comment="ok")

    with langfuse_manager.trace_span("query") as query:
        deep_inside()
        assert langfuse_manager.current_observation is query
    assert langfuse_manager.current_observation is None
    assert sessions.trace().one("query").metadata == {"seen": True}
    (score,) = sessions.scores
    assert (score.name, score.value, f"{score.span:016x}") == ("helpful", 0.5, query.id)


def test_what_ended_does_not_change(sessions: RecordedSessions) -> None:
    """An update after the end is too late: a row is sent once."""
    with langfuse_manager.trace_span("query", input=1) as query:
        pass
    query.update(output="late", name="late")
    query.finish("later")
    query.end()
    assert sessions.trace().tree() == ["span query"]
    assert sessions.trace().one("query").output is None


def test_a_payload_shows_what_was_there_at_the_time_of_the_call(sessions: RecordedSessions) -> None:
    """Lists and dicts that the application changes afterwards are recorded as they were."""
    messages = [{"role": "user", "content": ["one"]}]
    with langfuse_manager.trace_span("query", input=messages) as query:
        query.update(output={"messages": messages})
        messages[0]["content"].append("two")  # type: ignore[attr-defined]
        messages.append({"role": "user"})  # type: ignore[dict-item]
    found = sessions.trace().one("query")
    assert found.input == [{"role": "user", "content": ["one"]}]
    assert found.output == {"messages": [{"role": "user", "content": ["one"]}]}


def test_tags_and_metadata_of_a_session_are_on_every_row(sessions: RecordedSessions) -> None:
    """Langfuse filters and sums per row: tags, metadata, session and user are on each."""
    with langfuse_manager.session("s", "u", tags=["vip"], metadata={"plan": "free"}):  # noqa: SIM117
        with langfuse_manager.trace_span("root"), langfuse_manager.trace_span("child"):
            pass
    root, child = sessions.trace().observations
    for found in (root, child):
        assert found.attributes["langfuse.trace.tags"] == ["vip"]
        assert found.attributes["langfuse.trace.metadata.plan"] == "free"
        assert {key: found.attributes[key] for key in ("session.id", "user.id", "gen_ai.conversation.id")} == {
            "session.id": "s",
            "user.id": "u",
            "gen_ai.conversation.id": "s",
        }


def test_switched_off_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """LANGFUSE_TRACING_ENABLED=false: the API works, and nothing comes of it."""
    configure(tracing_enabled=False)
    assert (langfuse_manager.mode, langfuse_manager.enabled) == ("off", False)
    langfuse_manager.set_session("s")
    for _ in range(3):
        with langfuse_manager.trace_span("query"):
            pass
        langfuse_manager.flush(5)
    assert langfuse_manager.stats.recorded == 0
    configure(tracing_enabled=True)
    with langfuse_manager.trace_span("query"):
        pass
    assert langfuse_manager.flush(5) == (1, 0, 0)


def test_flush_counts_what_became_of_everything() -> None:
    """Without keys the journal is where observations are delivered to."""
    assert langfuse_manager.mode == "local"
    assert langfuse_manager.flush(1) == (0, 0, 0)
    for index in range(100):
        langfuse_manager.trace_agent_step("think", index, index)
    assert langfuse_manager.flush(10) == (100, 0, 0)
    assert langfuse_manager.stats.recorded == 100


def test_every_manager_is_the_same_state() -> None:
    """The session is the process's, not the instance's."""
    LangfuseManager().set_session("s")
    assert langfuse_manager.current_session_id == "s"


def test_where_to_look() -> None:
    """Without keys, session and trace are in the local viewer; without a session there is nowhere to look."""
    assert langfuse_manager.session_url() is None
    langfuse_manager.set_session("a b/c")
    url = langfuse_manager.session_url()
    assert url is not None
    assert url.endswith("/sessions/a%20b%2Fc")
    with langfuse_manager.trace_span("query") as query:
        assert query.url.endswith(f"/traces/{query.trace_id}")


def test_the_flag_that_switches_off_is_respected_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Langfuse's own variable counts."""
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "False")
    assert langfuse_manager.mode == "off"

"""What was said, found in whatever form a framework wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.encoding.messages import ChatMessage, ToolCall, compact, messages_in, text_of
from langfuse_integration.reading.conversation import (
    Exchange,
    Utterance,
    answered,
    asked,
    conversation_of,
    exchange_of,
)
from langfuse_integration.testing import RecordedSessions

SEARCH = ToolCall("search", {"query": "hay"})


@pytest.mark.parametrize(
    "written",
    [
        {"role": "assistant", "content": "Hi", "tool_calls": [{"name": "search", "args": {"query": "hay"}, "id": "1"}]},
        {
            "role": "assistant",
            "content": "Hi",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "search", "arguments": '{"query": "hay"}'}}
            ],
        },
        {"type": "ai", "content": "Hi", "tool_calls": [{"name": "search", "args": {"query": "hay"}}]},
        {
            "type": "ai",
            "data": {"content": "Hi", "tool_calls": [{"name": "search", "args": {"query": "hay"}}]},
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "1", "name": "search", "input": {"query": "hay"}},
            ],
        },
        {
            "role": "assistant",
            "blocks": [
                {"block_type": "text", "text": "Hi"},
                {"block_type": "tool_call", "tool_name": "search", "tool_kwargs": {"query": "hay"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Hi",
            "additional_kwargs": {"tool_calls": [{"function": {"name": "search", "arguments": '{"query": "hay"}'}}]},
        },
    ],
    ids=["flat", "openai", "langchain", "langchain-data", "anthropic", "llamaindex", "llamaindex-openai"],
)
def test_a_message_reads_the_same_in_every_form(written: dict[str, Any]) -> None:
    """Role, text and tool calls, however the framework or the provider writes them."""
    wanted = [ChatMessage("assistant", "Hi", (SEARCH,))]
    for value in (written, {"messages": [written]}, [[written]], {"update": {"messages": [written]}}):
        messages = messages_in(value)
        assert [call.id for message in messages for call in message.calls] in (["1"], [None])
        assert [
            each._replace(calls=tuple(call._replace(id=None) for call in each.calls)) for each in messages
        ] == wanted


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        [],
        {},
        [1, 2],
        {"role": 5, "content": ""},
        {"type": "function", "name": "f"},
        {"messages": "x"},
        {"update": 5},
    ],
)
def test_what_is_no_message_is_none(value: Any) -> None:
    """Plain values, tool definitions and odd shapes are not taken for chat."""
    assert messages_in(value) == []


def test_a_cycle_of_levels_ends() -> None:
    """Very deep nesting is given up instead of followed."""
    deep: Any = {"role": "user", "content": "x"}
    for _ in range(100):
        deep = {"messages": [deep]}
    assert messages_in(deep) == []


def test_content_in_parts_is_their_text() -> None:
    """Text parts are joined; what is not text is named; what only calls a tool says nothing."""
    parts = ["a", {"type": "text", "text": "b"}, {"type": "image_url", "image_url": "x"}, {"type": "tool_use"}]
    assert text_of(parts) == "a\nb\n[image_url]"
    assert text_of([1]) is None
    assert text_of({"x": 1}) is None


def test_the_last_word_of_each_side_counts() -> None:
    """The question is what the user said last, the answer what the assistant said last, with text."""
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": " Second? "},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "search", "args": {}}]},
    ]
    assert asked({"messages": history}) == "Second?"
    assert answered({"messages": history}) == "One."
    assert asked("plain") == "plain"
    assert asked({"query": "q", "other": 1}) == "q"
    assert answered({"response": "r"}) == "r"
    assert asked({"other": "x"}) is None
    assert asked("  ") is None


def test_an_exchange_comes_from_the_root_or_the_first_below_that_tells(sessions: RecordedSessions) -> None:
    """A span without input takes the conversation of the agent below it; a bare tool call is no conversation."""
    said = {"messages": [{"role": "user", "content": "Q?"}]}
    with (
        langfuse_manager.trace_span("request"),
        langfuse_manager.trace_span("herder", as_type="agent", input=said) as agent,
    ):
        agent.update(output={"messages": [{"role": "assistant", "content": "A."}]})
    langfuse_manager.trace_mcp_call("llama-mcp", "query", "result")
    first, second = sessions.traces
    assert exchange_of(first) == Exchange("Q?", "A.", "herder")
    assert exchange_of(second) == Exchange(None, None, None)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("text", "text"),
        ({"query": "hay", "limit": 3}, 'query="hay", limit=3'),
        ({"content": [{"type": "text", "text": "found"}], "isError": False}, "found"),
        ([{"page_content": "one", "metadata": {}}, {"page_content": "two", "metadata": {}}], "one\ntwo"),
        ([1, "ü", None], '[1, "ü", null]'),
        (None, "null"),
    ],
)
def test_a_value_is_written_as_a_person_would(value: Any, line: str) -> None:
    """Arguments as name=value, tool results and documents as their text, the rest as JSON."""
    assert compact(value) == line


def test_an_interrupt_is_a_question_and_its_resume_a_reply(sessions: RecordedSessions) -> None:
    """The user's question, what the agent asks, what the person replies and the final answer, each once, in order."""
    first = {"role": "user", "content": "What is my sign?"}
    known = {"role": "assistant", "content": "The zodiac is old."}
    with langfuse_manager.trace_span("turn"):
        with langfuse_manager.trace_span("zodiac", as_type="chain", input={"messages": [first]}) as run:
            with langfuse_manager.trace_span("ask", as_type="chain", input={"messages": [first, known]}) as node:
                node.update(output={"interrupts": [{"id": "1", "value": "When were you born?"}]})
                node.update(status_message="interrupted")
            run.update(output={"messages": [first, known]}, status_message="interrupted")
        with langfuse_manager.trace_span("zodiac", as_type="chain", input={"resume": "1990-06-10"}) as run:
            run.update(output={"messages": [first, known, {"role": "assistant", "content": "Gemini."}]})
    assert conversation_of(sessions.trace()) == [
        Utterance("user", "What is my sign?"),
        Utterance("assistant", "The zodiac is old."),
        Utterance("assistant", "When were you born?"),
        Utterance("user", "1990-06-10"),
        Utterance("assistant", "Gemini."),
    ]
    assert exchange_of(sessions.trace()) == Exchange("What is my sign?", "Gemini.", None)


def test_an_input_that_is_no_chat_is_a_request(sessions: RecordedSessions) -> None:
    """The user never said an inner prompt: the run's own input is the request, its own output the result."""
    with langfuse_manager.trace_span("ResearchTopic", as_type="chain", input={"topic": "Llama farms"}) as run:
        with langfuse_manager.trace_span("Chat", as_type="generation", input="You are doing web research.") as model:
            model.update(output={"role": "assistant", "content": "Farms."})
        run.update(output={"topic": "Llama farms", "info": ["A"]})
    assert conversation_of(sessions.trace()) == [
        Utterance("request", 'topic="Llama farms"'),
        Utterance("result", 'topic="Llama farms", info=["A"]'),
    ]


def test_a_call_of_the_responses_api_is_a_call_and_no_text() -> None:
    """A function_call block names its tool, its arguments and its id, and says nothing."""
    (message,) = messages_in(
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "summary": []},
                {"type": "text", "text": "Let me look."},
                {
                    "type": "function_call",
                    "name": "search",
                    "arguments": '{"query": "hay"}',
                    "call_id": "c1",
                    "id": "fc",
                },
            ],
        }
    )
    assert (message.text, message.calls) == ("Let me look.", (ToolCall("search", {"query": "hay"}, "c1"),))

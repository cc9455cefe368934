"""What was said, found in whatever form a framework wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.reading.conversation import (
    Call,
    Exchange,
    Message,
    answered,
    asked,
    compact,
    exchange_of,
    messages_in,
    text_of,
)
from langfuse_integration.testing import RecordedSessions

SEARCH = Call("search", {"query": "hay"})


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
    wanted = [Message("assistant", "Hi", (SEARCH,))]
    assert messages_in(written) == wanted
    assert messages_in({"messages": [written]}) == wanted
    assert messages_in([[written]]) == wanted


@pytest.mark.parametrize(
    "value",
    [None, 5, "text", [], {}, [1, 2], {"role": 5, "content": ""}, {"type": "function", "name": "f"}, {"messages": "x"}],
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

"""How times, money and counts are shown, in the terminal and in the browser alike."""

from __future__ import annotations

import pytest

from langfuse_integration.encoding.messages import ToolCall, messages_in
from langfuse_integration.presentation import arguments, documents, dollars, duration, short_count, written


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2e-6, "0.0 ms"), (0.0021, "2.1 ms"), (0.25, "250 ms"), (0.9996, "1.00 s"), (9.994, "9.99 s"), (46.6, "46.6 s"),
        (59.94, "59.9 s"), (59.96, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90_000, "25 h 0 min"),
        (1e6, "11 days"), (-1, "0.0 ms"),
    ],
)  # fmt: skip
def test_durations_have_the_unit_that_fits(seconds: float, text: str) -> None:
    """From a tenth of a millisecond to days, never two units of one kind."""
    assert duration(int(seconds * 1e9)) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (None, ""), (0, "$0.00"), (0.00001, "<$0.0001"), (0.0137, "$0.0137"), (0.25, "$0.25"), (1, "$1.00"),
        (12345.678, "$12,345.68"),
    ],
)  # fmt: skip
def test_money_has_as_many_digits_as_it_takes_to_see_it(cost: float | None, text: str) -> None:
    """A quarter of a dollar is the same everywhere, and what is too small to see is not shown as nothing."""
    assert dollars(cost) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (99_999, "99,999"), (100_000, "100k"), (12_345_678, "12M")])
def test_counts_fit_their_column(count: int, text: str) -> None:
    """At most seven characters."""
    assert short_count(count) == text


def test_a_call_shows_all_its_arguments() -> None:
    """An argument called `content` hides no other one, and a call without arguments has empty brackets."""
    assert written(ToolCall("write_file", {"file_path": "/a.md", "content": "# A"})) == (
        'write_file(file_path="/a.md", content="# A")'
    )
    assert written(ToolCall("note", {"content": "x"})) == 'note(content="x")'
    assert written(ToolCall("now", {})) == "now()"
    assert arguments({"query": "hay"}) == 'query="hay"'


def test_documents_have_score_and_source() -> None:
    """LangChain's and LlamaIndex's documents alike; what is no list of documents gives nothing."""
    assert documents([{"page_content": "one", "metadata": {"source": "a.md", "score": 0.5}}]) == ["[0.50, a.md] one"]
    assert documents([{"text": "two", "score": 0.931, "source": "id", "metadata": {"file": "b.md"}}]) == [
        "[0.93, b.md] two"
    ]
    assert documents([{"page_content": "plain", "metadata": {}}]) == ["plain"]
    for value in (None, "text", [], [1], [{"type": "text", "text": "block"}], {"page_content": "x"}):
        assert documents(value) == []


def test_what_a_command_of_langgraph_updates_is_a_conversation() -> None:
    """An agent that hands over returns one: its messages are shown, not its parts."""
    said = [{"role": "user", "content": "Hay?"}, {"role": "tool", "content": "Handed over.", "name": "transfer"}]
    command = {"graph": "supervisor:1", "update": {"messages": said}, "goto": "researcher"}
    assert [message.text for message in messages_in(command)] == ["Hay?", "Handed over."]
    assert messages_in({"update": {"messages": said}, "note": "its own"}) == []

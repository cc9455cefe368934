"""Histories: written as any list is, whatever was written before; bounded, and forgotten when nothing happens."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langfuse_integration import langfuse_manager
from langfuse_integration.encoding import fragments, history, json_text
from langfuse_integration.encoding.history import SHORT, Texts
from langfuse_integration.recording.noted_messages import History
from langfuse_integration.recording.snapshot import snapshot
from peers.waiting import until


class Message:
    """Something said, which never changes."""

    converted = 0

    def __init__(self, content: str) -> None:
        self.content = content


def _said(message: Message) -> dict[str, Any]:
    Message.converted += 1
    return {"content": message.content}


@pytest.fixture(autouse=True)
def _types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_converters", {**json_text._converters, Message: _said})
    monkeypatch.setattr(json_text, "_states", {**json_text._states, Message: vars})
    json_text._resolved.clear()
    history.texts.clear()
    Message.converted = 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.text(max_size=3)),
        st.tuples(st.just("again"), st.integers(0, 40)),
        st.tuples(st.just("forget"), st.integers(0, 40)),
        st.tuples(st.just("replace"), st.integers(0, 40)),
        st.tuples(st.just("plain"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_becomes_of_a_history_its_text_is_that_of_a_list(steps: list[tuple[str, Any]]) -> None:
    """Longer, shorter, with something else in its middle, with a dict that changes: always as it was when noted."""
    said: list[Any] = [Message(str(index)) for index in range(SHORT)]
    for kind, value in steps:
        match kind:
            case "say":
                said.append(Message(value))
            case "again":
                said.extend(said[:value])
            case "forget":
                del said[value:]
            case "replace" if value < len(said):
                said[value] = Message("another")
            case "plain" if value < len(said):
                said[value] = {"content": str(len(said))}
        noted = History(said)
        expected = [item["content"] if isinstance(item, dict) else item.content for item in said]
        said.append(Message("later"))
        assert [
            found["content"] for found in json.loads(json_text.to_json({"messages": noted}))["messages"]
        ] == expected
        said.pop()


def test_only_what_is_new_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no text of a single message is kept: the text of the history before is."""
    said = [Message(str(index)) for index in range(100)]
    json_text.to_json(History(said))
    assert Message.converted == 100
    monkeypatch.setattr(json_text, "fragments", fragments.Fragments())
    for index in range(10):
        said.append(Message(str(index)))
        json_text.to_json(History(said))
    assert Message.converted == 110


def test_a_history_of_dicts_is_that_of_its_moment() -> None:
    """A history of dicts is copied when noted, and never cached."""
    said: list[Any] = [{"content": str(index)} for index in range(50)]
    noted = snapshot(said)
    said[3]["content"] = "changed"
    assert json.loads(json_text.to_json(noted))[3] == {"content": "3"}
    assert json.loads(json_text.to_json(snapshot(said)))[3] == {"content": "changed"}
    assert len(history.texts) == 0


def test_what_is_held_is_bounded() -> None:
    """The cache of histories is bounded by number and by bytes; the least recently used go first."""
    few = Texts(limit=3)
    conversations = [[Message(f"a{number}"), Message("b")] for number in range(5)]
    for said in conversations:
        few.text(said)
    assert len(few) == 3
    small = Texts(limit_bytes=1000)
    for said in conversations:
        text = small.text([*said, Message("x" * 300)])
        assert text is not None
        assert orjson.loads(b"[" + bytes(text) + b"]")[2] == {"content": "x" * 300}
    assert len(small) == 2
    small.text([Message("a"), Message("x" * 2000)])
    assert len(small) == 0
    assert small._size_bytes == 0


def test_branches_of_one_conversation_share_what_they_begin_with() -> None:
    """Two agents that go on from the same messages in turn: each step serialises its new message only."""
    texts = Texts()
    said = [Message(str(index)) for index in range(50)]
    branches = [[*said, Message("left")], [*said, Message("right")]]
    for _ in range(5):
        for branch in branches:
            branch.append(Message("more"))
            text = texts.text([*branch])
            assert text is not None
            assert orjson.loads(b"[" + bytes(text) + b"]") == [{"content": message.content} for message in branch]
            assert len(text.part) < 1000
    assert Message.converted == 50 + 2 + 10


@pytest.mark.parametrize("known", [True, False], ids=["content is known", "only the JSON is known"])
def test_new_objects_with_the_same_content_continue_a_history(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """A memory that makes its messages anew each time: the text before is found by content."""
    if known:
        monkeypatch.setitem(json_text._contents, Message, lambda message: message.content)
    texts = Texts()
    contents = [str(index) for index in range(20)]
    parts = []
    for number in range(3):
        text = texts.text([Message(content) for content in [*contents, *"abc"[:number]]])
        assert text is not None
        parts.append(text.part)
    assert parts[1:] == [b',{"content":"a"}', b',{"content":"b"}']
    assert not known or Message.converted == 22


def test_it_is_forgotten_when_nothing_happens() -> None:
    """The cache of histories, which keeps messages alive, is emptied when the application is idle."""
    with langfuse_manager.trace_span("think", as_type="generation") as think:
        think.update(input=History([Message(str(index)) for index in range(20)]))
    langfuse_manager.flush(10)
    until(lambda: len(history.texts) == 0, what="the histories to be forgotten")


def test_a_long_history_is_cut_like_any_value() -> None:
    """The careful walk takes the messages, not the text."""
    text = json_text.to_json(History([Message("x" * 100) for _ in range(100)]), 1000)
    assert len(text) < 2000
    assert "[cut: 90 more items]" in text

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
from langfuse_integration.encoding.history import SHORT, History, _Texts
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
    monkeypatch.setattr(json_text, "_cached_types", {*json_text._cached_types, Message})
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
    noted = History(said)
    said[3]["content"] = "changed"
    assert json.loads(json_text.to_json(noted))[3] == {"content": "3"}
    assert json.loads(json_text.to_json(History(said)))[3] == {"content": "changed"}
    assert len(history.texts) == 0


def test_what_is_held_is_bounded() -> None:
    """The cache of histories is bounded by number and by bytes; the least recently used go first."""
    few = _Texts(limit=3)
    conversations = [[Message("a"), Message("b")] for _ in range(5)]
    for said in conversations:
        few.text(said)
    assert len(few) == 3
    small = _Texts(limit_bytes=1000)
    for said in conversations:
        assert orjson.loads(small.text([*said, Message("x" * 300)]))[2] == {"content": "x" * 300}
    assert len(small) == 2
    small.text([Message("a"), Message("x" * 2000)])
    assert len(small) == 0
    assert small._size_bytes == 0


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

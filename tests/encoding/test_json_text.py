"""Payloads of any kind: never an exception, always valid JSON, marked where cut."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import gc
import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.encoding import fragments, json_text
from langfuse_integration.recording.snapshot import snapshot
from langfuse_integration.testing import RecordedSessions


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Model(BaseModel):
    name: str
    inner: Any = None


class Angry:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def deep(depth: int) -> Any:
    value: Any = "end"
    for _ in range(depth):
        value = [value]
    return value


KINDS: dict[str, tuple[Any, Any]] = {
    "text": ("hello", "hello"),
    "empty text": ("", ""),
    "none inside": ({"a": None}, {"a": None}),
    "text bytes": ({"a": b"abc"}, {"a": "abc"}),
    "raw bytes": ({"a": b"\xff\xfe\x00"}, {"a": "<3 bytes>"}),
    "not a number": ([float("nan"), float("inf")], [None, None]),
    "lone surrogate": ({"a": "x\ud800y"}, {"a": "x\\ud800y"}),
    "lone surrogate alone": ("x\ud800y", "x\\ud800y"),
    "huge integer": ([2**70], [str(2**70)]),
    "set": ({"a": {1}}, {"a": [1]}),
    "tuple keys": ({(1, 2): "a"}, {"(1, 2)": "a"}),
    "number keys": ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
    "date": ([datetime.date(2026, 1, 2)], ["2026-01-02"]),
    "decimal": ([decimal.Decimal("1.5")], ["1.5"]),
    "uuid": ([uuid.UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    "enum": ([Colour.RED], ["red"]),
    "path": ([Path("/tmp/a")], ["/tmp/a"]),
    "dataclass": (Point(1, {2}), {"x": 1, "y": [2]}),
    "pydantic": (Model(name="m", inner=Point(1, 2)), {"name": "m", "inner": {"x": 1, "y": 2}}),
    "exception": ([ValueError("bad")], ["ValueError: bad"]),
    "function": ([len], ["<function len>"]),
    "raises": ([Angry()], ["<Angry: its text raised RuntimeError>"]),
    "cycle": (cycle(), [1, {"again": "[cycle]"}]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_value_arrives(kind: str, sessions: RecordedSessions) -> None:
    """Input, output and metadata of any kind arrive as what a person would read."""
    value, expected = KINDS[kind]
    with langfuse_manager.trace_span("query", input=value, metadata={"value": value}) as query:
        query.update(output=value)
    found = sessions.trace().one("query")
    assert found.input == found.output == found.metadata["value"] == expected


def test_what_is_nested_too_deep_is_cut_and_says_so() -> None:
    """Depth is bounded, and the text stays valid."""
    text = json_text.to_json(deep(1000))
    json.loads(text)
    assert "[cut: nested too deep]" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: "x" * 50_000_000,
        lambda: {"a": "x" * 50_000_000, "b": 1},
        lambda: [{"n": index, "text": "y" * 100} for index in range(100_000)],
        lambda: {f"key-{index}": index for index in range(200_000)},
    ],
    ids=["text", "text inside", "list", "dict"],
)
def test_a_huge_value_is_cut_to_the_limit_and_says_so(make: Callable[[], Any]) -> None:
    """50 MB become about the limit, with a marker; structures stay structures."""
    value = make()
    text = json_text.to_json(value, 100_000)
    assert len(text) < 210_000
    assert "cut" in text
    if not isinstance(value, str):
        assert type(json.loads(text)) is type(value)


def test_what_stands_before_a_cut_keeps_its_names() -> None:
    """Values are cut, not the keys of the entry in which the limit is reached; only a key of its own length is."""
    text = json_text.to_json([{"question": "x" * 90} for _ in range(20)], 1000)
    found = json.loads(text)
    assert {key for item in found[:-1] for key in item} == {"question"}
    assert found[-1].startswith("[cut: ")
    ((key, value),) = json.loads(json_text.to_json({"k" * 5000: "x" * 5000}, 2000)).items()
    assert key == "k" * 1024 + "... [cut: 5000 bytes in all]"
    assert value.startswith("x" * 900)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from([20, 200, 1_000_000]))
def test_no_value_raises_and_all_are_valid_json(value: Any, limit: int) -> None:
    """Whatever the value and the limit, the text is valid JSON and of valid characters."""
    text = json_text.to_json(snapshot(value), limit)
    text.encode()
    if not isinstance(value, str):
        json.loads(text)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_a_snapshot_equals_and_does_not_follow(value: Any) -> None:
    """A snapshot reads the same as its value, and stays so when the value's containers are emptied."""
    before = json_text.to_json(value)
    copied = snapshot(value)
    _empty(value)
    assert json_text.to_json(copied) == before


def _empty(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _empty(item)
        value.clear()
    elif isinstance(value, (list, tuple)):
        for item in value:
            _empty(item)
        if isinstance(value, list):
            value.clear()


def test_a_cycle_with_many_branches_is_copied_in_bounded_time() -> None:
    """The copying is bounded in containers, so that a knot of references cannot stall the application."""
    knot: dict[str, Any] = {}
    for index in range(1000):
        knot[str(index)] = knot
    copied = snapshot(knot)
    assert json_text.to_json(copied, 1000)


def test_a_dict_that_changes_meanwhile_never_raises() -> None:
    """A container that another thread writes to is recorded all the same."""
    shared: dict[int, Any] = {}
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for index in range(500):
                shared[index] = [index]
            shared.clear()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            json.loads(json_text.to_json(snapshot(shared)))
    finally:
        stop.set()
        writer.join()


class Message:
    """Something that a framework says."""

    def __init__(self, text: str) -> None:
        self.text = text


def test_a_dataclass_is_written_by_its_converter() -> None:
    """A registered converter holds for a dataclass too, also inside of a list; without one its public fields count."""

    @dataclasses.dataclass
    class Answer:
        text: str
        _internal: int = 0

    assert json.loads(json_text.to_json([Answer("hm")])) == [{"text": "hm"}]
    json_text.register(Answer, lambda answer: answer.text)
    assert json.loads(json_text.to_json([Answer("hm")])) == ["hm"]


def test_an_unchanged_object_is_turned_into_json_once() -> None:
    """The converter of a kind with a state runs once per object and state, however often it is written."""
    calls: list[str] = []

    def convert(message: Message) -> dict[str, str]:
        calls.append(message.text)
        return {"content": message.text}

    json_text.register(Message, convert, state=vars)
    history = [Message(str(index)) for index in range(3)]
    for _ in range(5):
        assert json.loads(json_text.to_json({"messages": history})) == {
            "messages": [{"content": "0"}, {"content": "1"}, {"content": "2"}],
        }
    assert calls == ["0", "1", "2"]
    assert json.loads(json_text.to_json(history, 30)) != []  # the careful walk takes the value, not the text


def test_the_texts_kept_are_bounded_and_leave_with_their_objects() -> None:
    """No object is kept alive, and the bytes have a limit."""
    held = fragments.Fragments(limit_bytes=1000)
    messages = [Message(str(index)) for index in range(100)]
    for message in messages:
        held.put(message, orjson.Fragment(b"1" * 100), 100, vars, vars(message))
    assert len(held) == 10
    assert orjson.dumps(held.get(messages[-1])) == b"1" * 100
    assert held.get(messages[0]) is None
    messages.clear()
    del message
    gc.collect()
    held.sweep()
    assert len(held) == 0

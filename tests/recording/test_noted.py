"""Notes of objects: what the application changes afterwards is not in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
from pydantic import BaseModel

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.noted import Noted, as_it_was, note_of
from langfuse_integration.recording.snapshot import MAX_COPIES


class Block(BaseModel):
    """A part of an answer."""

    text: str = ""
    arguments: dict[str, Any] = {}


class Answer(BaseModel):
    """An answer of a model."""

    role: str = "assistant"
    blocks: list[Block] = []
    extra: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    message: Any = None


def answer() -> Answer:
    """Return one with something of everything."""
    blocks = [Block(text="hay"), Block(arguments={"deep": {"list": [1]}})]
    inner = Answer(blocks=[Block(text="inner")], extra={"calls": [{"args": {}}]})
    return Answer(blocks=blocks, extra={"a": [1, {"b": True}]}, objects={"o": Block(text="x"), "l": [1]}, message=inner)


CHANGES = {
    "a field": lambda one: setattr(one, "role", "user"),
    "a list": lambda one: one.blocks.append(Block()),
    "a shorter list": lambda one: one.blocks.pop(),
    "an item": lambda one: setattr(one.blocks[0], "text", "straw"),
    "inside of an item": lambda one: one.blocks[1].arguments["deep"]["list"].append(2),
    "a mapping": lambda one: one.extra.update(c=1),
    "deep in a mapping": lambda one: one.extra["a"][1].update(b=1),
    "a mapping with objects": lambda one: one.objects["l"].append(2),
    "another object": lambda one: setattr(one, "message", None),
    "the object inside": lambda one: setattr(one.message, "role", "user"),
    "in the object inside": lambda one: one.message.blocks.clear(),
    "deep in the object inside": lambda one: one.message.extra["calls"][0]["args"].update(x=1),
    "what it does not have": lambda one: one.__dict__.update(more=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_afterwards_does_not_show(change: str) -> None:
    """The note gives an object that is equal to the one before, of the same class, and leaves the changed one alone."""
    value, same = answer(), answer()
    noted = Noted(value, ("message",))
    CHANGES[change](value)
    was = noted.as_it_was()
    assert was is not value
    assert was == same
    assert was.model_fields_set == same.model_fields_set
    assert json_text.plain(noted) == json_text.plain(same)


def test_what_has_not_changed_is_the_same_object() -> None:
    """Nothing is copied without need: what is serialised once is found by its identity."""
    value = answer()
    assert Noted(value, ("message",)).as_it_was() is value


@pytest.mark.parametrize("value", ["hay", 3, None, b"x", (1, 2)])
def test_what_nobody_changes_is_kept_as_it_is(value: Any) -> None:
    """Texts and numbers need no note."""
    assert as_it_was(note_of(value)) == value


@pytest.mark.parametrize("kept", [numpy.float32(0.5), numpy.arange(3), memoryview(b"hay"), {1, 2}, ({"a": 1}, 2)])
def test_a_value_beside_a_change_stays_what_it_was(kept: Any) -> None:
    """Scores of vector stores are numbers of numpy, which other forms take for bytes."""
    value = Answer(extra={"kept": kept, "list": [1]})
    noted = Noted(value)
    value.extra["list"].append(2)
    value.extra["more"] = True
    was = noted.as_it_was().extra
    assert list(was) == ["kept", "list"]
    assert was["list"] == [1]
    assert type(was["kept"]) is type(kept)
    assert was["kept"] is kept or was["kept"] == kept


def test_an_array_that_is_exchanged_is_read_as_it_was() -> None:
    """Arrays cannot be compared."""
    array = numpy.arange(3)
    value = Answer(extra={"array": array})
    noted = Noted(value)
    value.extra["array"] = array + 1
    assert noted.as_it_was().extra["array"] is array


class Unloaded:
    """An object that answers to no name before it is loaded, as rows of a closed database session."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Obliging:
    """An object that answers to every name, as clients of remote objects do."""

    def __getattr__(self, name: str) -> Any:
        return {name}


@pytest.mark.parametrize("make", [Unloaded, Obliging, lambda: Answer], ids=["unloaded", "obliging", "a class"])
def test_an_object_is_asked_for_nothing(make: Callable[[], Any]) -> None:
    """What a tool returns may raise for any name, answer to any name, or be a class of models."""
    value = make()
    assert note_of(value) is value


def test_a_model_that_holds_itself() -> None:
    """A note ends somewhere."""
    value = Answer()
    value.blocks = [value, value]  # type: ignore[list-item]
    noted = Noted(value)
    assert noted.as_it_was() is value
    value.blocks.pop()
    assert len(noted.as_it_was().blocks) == 2


class Counting(dict[str, Any]):
    """Entries that count how often they are read."""

    reads = 0

    def items(self) -> Any:
        Counting.reads += 1
        return super().items()


def test_a_huge_value_costs_no_time() -> None:
    """Up to a limit containers are copied; further ones are kept by reference."""
    Counting.reads = 0
    Noted(Answer(extra={"rows": [Counting(a=1) for _ in range(3 * MAX_COPIES)]}))
    assert Counting.reads < MAX_COPIES

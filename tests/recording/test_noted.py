"""Notes of objects: what the application changes afterwards is not in them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.noted import Noted, as_it_was, note_of


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

"""Histories that rows share: the text is that of a history alone, and only what is new is written again."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langfuse_integration.encoding import history
from langfuse_integration.encoding.fields import Fields
from langfuse_integration.encoding.media import MediaSieve
from langfuse_integration.encoding.shared_text import Rope, SharedText
from langfuse_integration.recording.noted_messages import History
from langfuse_integration_langchain.messages import ChatRequest, GraphInput, register

register()
KEY = "sk-lf-0123456789abcdef"
PICTURE = "data:image/png;base64," + "QUJDREVGRw" * 8


@pytest.fixture(autouse=True)
def _empty() -> None:
    history.texts.clear()


def fields(max_bytes: int = 1024 * 1024, *, shares: bool = True) -> Fields:
    made = Fields(max_bytes=max_bytes, media=MediaSieve().sift, keys=[KEY])
    made.shares = shares
    return made


def said(chance: random.Random, number: int) -> BaseMessage:
    text = chance.choice(["", "\u00e9" * 30, '"quoted" },{', "x" * 300]) + str(number)
    if number % 3 == 0:
        return HumanMessage(text)
    if number % 3 == 1:
        return AIMessage(text, tool_calls=[{"name": "find", "args": {"part": number, "data": [1]}, "id": f"c{number}"}])
    return ToolMessage(text, tool_call_id=f"c{number - 1}")


def shapes(messages: list[BaseMessage]) -> list[Any]:
    """Values that hold these messages, as the frameworks record them."""
    tools = [{"type": "function", "function": {"name": "find", "description": "x" * 2_000}}]
    return [
        History(messages),
        History([SystemMessage("Be brief."), *messages]),
        ChatRequest(History([SystemMessage("y" * 3_000), *messages]), tools),
        GraphInput({"messages": [*messages], "step": len(messages), "done": False}),
        {"messages": [*messages], "old": {"messages": [*messages[:-1]]}},
        [*messages],
    ]


@given(
    seed=st.integers(0, 1_000),
    limit=st.sampled_from([500, 4_000, 12_000, 1024 * 1024]),
    steps=st.lists(st.sampled_from(["say", "again", "edit", "forget", "branch"]), max_size=12),
)
def test_a_shared_text_is_what_it_is_without_sharing(seed: int, limit: int, steps: list[str]) -> None:
    """Whole or cut, in every shape, whatever was written before: byte for byte the text of the value alone."""
    chance = random.Random(seed)
    shared, alone = fields(limit), fields(limit, shares=False)
    messages = [said(chance, number) for number in range(12)]
    before = messages
    for step in ["say", *steps]:
        place = chance.randrange(1, len(messages))
        if step == "say":
            messages = [*messages, *(said(chance, len(messages) + number) for number in range(place % 4))]
        elif step == "edit":
            messages = [*messages[:place], said(chance, 99), *messages[place + 1 :]]
        elif step == "forget":
            messages = messages[place:] if len(messages) - place > 9 else messages
        elif step == "branch":
            messages, before = before, messages
        for value in shapes(messages):
            written = shared.payload(value)
            assert isinstance(written, Rope)
            assert bytes(written).decode() == alone.payload(value)


def test_only_what_is_new_is_written() -> None:
    """200 steps of an agent: the parts that no earlier text has are as long as what was said."""
    chance = random.Random(1)
    shared = fields()
    messages: list[BaseMessage] = [said(chance, number) for number in range(10)]
    parts: dict[int, SharedText] = {}
    size = total = 0
    for _ in range(200):
        messages = [*messages, said(chance, len(messages)), said(chance, len(messages) + 1)]
        written = shared.payload(ChatRequest(History([SystemMessage("Be brief."), *messages]), []))
        assert isinstance(written, Rope)
        total += len(written)
        size = len(written)
        parts |= {
            id(text): text for piece in written.pieces if isinstance(piece, SharedText) for text in piece.lineage()
        }
    assert sum(len(text.part) for text in parts.values()) < size
    assert total > 50 * size


def test_what_is_too_long_is_cut_once() -> None:
    """A history beyond the size limit: each further row has the same beginning, and says how much is missing."""
    chance = random.Random(2)
    shared = fields(20_000)
    messages = [said(chance, number) for number in range(300)]
    first = shared.payload(History(messages))
    later = shared.payload(History([*messages, *(said(chance, number) for number in range(50))]))
    assert isinstance(first, Rope)
    assert isinstance(later, Rope)
    assert first.pieces[1] is later.pieces[1]
    assert len(later) < 25_000
    assert bytes(later).endswith(b' more items]"]')
    assert bytes(first) != bytes(later)


@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize(("secret", "left"), [(KEY, "a Langfuse key was here"), (PICTURE, "@@@langfuseMedia:")])
def test_keys_and_media_are_taken_out_of_histories(place: int, secret: str, left: str) -> None:
    """A message with a key or a picture: the text is the one without sharing, in this row and in the next ones."""
    messages: list[BaseMessage] = [HumanMessage(f"part {number}") for number in range(12)]
    shared, alone = fields(), fields(shares=False)
    shared.payload(History(messages[:place] or messages[1:]))
    messages[place] = HumanMessage(f"look: {secret}")
    for _ in range(3):
        messages = [*messages, HumanMessage("and?")]
        text = shared.payload(ChatRequest(History(messages), []))
        assert text == alone.payload(ChatRequest(History(messages), []))
        assert secret not in text
        assert left in text


def test_blocks_of_media_are_taken_out_of_histories() -> None:
    """An image in a block of its own, as providers put it into a message."""
    block = {"type": "image", "base64": "QUJDREVGRw" * 8, "mime_type": "image/png"}
    messages = [*(HumanMessage(f"part {number}") for number in range(12)), HumanMessage([block])]
    for value in (History(messages), History([*messages, HumanMessage("and?")])):
        text = fields().payload(value)
        assert text == fields(shares=False).payload(value)
        assert "@@@langfuseMedia:" in text


def test_a_mask_gets_the_whole_value() -> None:
    """With a mask nothing is shared: it may change any part."""
    masked = Fields(mask=lambda data: [*data, "masked"])
    masked.shares = True
    text = masked.payload(History([HumanMessage(str(number)) for number in range(12)]))
    assert isinstance(text, str)
    assert text.endswith(',"masked"]')

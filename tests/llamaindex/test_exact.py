"""Exact forms of model answers: each kind is rebuilt as an equal object, from JSON."""

from __future__ import annotations

import copy
import datetime
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms import types

if not hasattr(types, "ThinkingBlock"):
    pytest.skip("this release of LlamaIndex has no blocks for thoughts and tool calls", allow_module_level=True)

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    ChatResponse,
    CitableBlock,
    CitationBlock,
    CompletionResponse,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from openai.types.chat import ChatCompletion

from langfuse_integration import configure
from langfuse_integration.encoding import object_form
from langfuse_integration_llamaindex import answers, deltas
from langfuse_integration_llamaindex.answers import ExactAnswer, piece_of

RAW = {
    "id": "chatcmpl-1",
    "created": 1,
    "model": "gpt-5",
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "new_bucket": 3},
    "a_field_of_tomorrow": [1],
}


@dataclass(frozen=True)
class Grade:
    """A dataclass in an answer's `raw`."""

    of: str
    points: tuple[int, ...]


def chat(*blocks: ContentBlock, extra: dict[str, Any] | None = None, **fields: Any) -> ChatResponse:
    """Return a response of the assistant with *blocks*."""
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks), additional_kwargs=extra or {})
    return ChatResponse(message=message, **fields)


HI = TextBlock(text="hi")
ANSWERS: dict[str, ChatResponse | CompletionResponse] = {
    "a text": chat(HI),
    "nothing": chat(),
    "a tool call": chat(ToolCallBlock(tool_call_id="c1", tool_name="search", tool_kwargs={"q": "hay"})),
    "arguments that are no JSON": chat(ToolCallBlock(tool_call_id="c1", tool_name="search", tool_kwargs='{"q": ')),
    "tool calls in additional_kwargs": chat(HI, extra={"tool_calls": [{"id": "c1", "function": {"name": "search"}}]}),
    "thinking with a signature": chat(ThinkingBlock(content="hm", additional_information={"signature": "c2ln"}), HI),
    "thinking with its tokens": chat(ThinkingBlock(content=None, num_tokens=7), HI),
    "an image": chat(ImageBlock(image=b"\x89PNG\r\n\x1a\n", image_mimetype="image/png", detail="low")),
    "an image elsewhere": chat(ImageBlock(url="https://example.org/a.png")),
    "audio": chat(AudioBlock(audio=b"UklGRg==", format="wav")),
    "a document": chat(DocumentBlock(data=b"%PDF-1.7", title="a")),
    "a citation": chat(
        CitationBlock(cited_content=HI, source="s", title="t", additional_location_info={"start": 1}),
        CitableBlock(title="t", source="s", content=[HI]),
    ),
    "a cache point": chat(HI, CachePoint(cache_control={"type": "ephemeral"})),  # type: ignore[arg-type]
    "usage in additional_kwargs": chat(HI, additional_kwargs={"prompt_tokens": 11, "completion_tokens": 7}),
    "the provider's object": chat(HI, raw=ChatCompletion.model_validate(RAW)),
    "the provider's dict": chat(HI, raw={"usage": {"input_tokens": 11}, "stop_reason": "end_turn", "id": None}),
    "log probabilities": chat(HI, logprobs=[[LogProb(token="hi", logprob=-0.1, bytes=[104, 105])]]),
    "a piece": chat(HI, delta="i"),
    "numbers of all kinds": chat(HI, raw={"a": 1, "b": 1.0, "c": True, "d": 2**80, "e": float("inf"), "f": -0.0}),
    "keys of all kinds": chat(HI, raw={1: "a", ("b", 2): "c", "$": "model", None: "d"}),
    "objects of all kinds": chat(
        HI,
        raw={
            "when": datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC),
            "day": datetime.date(2026, 11, 28),
            "id": uuid.UUID(int=7),
            "cost": Decimal("0.10"),
            "path": Path("a/b"),
            "grade": Grade("wool", (1, 2)),
            "words": {"a"},  # of two, the order in `repr` may change
            "role": MessageRole.TOOL,
            "bytes": b"\xff\x00",
        },
    ),
    "a completion": CompletionResponse(text="hi", raw={"usage": 1}, additional_kwargs={"a": 1}),
    "a piece of a completion": CompletionResponse(text="hi", delta="i", logprobs=[[LogProb(token="hi", logprob=-1)]]),
}


def through_a_file(answer: ExactAnswer) -> dict[str, Any]:
    """Return the form of an answer as a file gives it back."""
    form: dict[str, Any] = json.loads(json.dumps(answer()))
    return form


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_is_rebuilt(kind: str) -> None:
    """An answer, its message, blocks and raw response are rebuilt as equal objects of the same classes."""
    answer = ANSWERS[kind]
    back = answers.response_of(through_a_file(ExactAnswer(answer)))
    assert back == answer
    assert repr(back) == repr(answer)
    assert type(back) is type(answer)
    assert type(back.raw) is type(answer.raw)


def test_the_providers_object_is_whole() -> None:
    """OpenAI's response has its fields, those of later releases and what was set, as before."""
    raw = ChatCompletion.model_validate(RAW)
    raw._request_id = "req_1"
    back = answers.response_of(through_a_file(ExactAnswer(chat(HI, raw=raw)))).raw
    assert isinstance(back, ChatCompletion)
    assert back.model_dump(exclude_unset=True) == raw.model_dump(exclude_unset=True) == RAW
    assert back._request_id == "req_1"


def adds_to_a_call() -> Iterator[ChatResponse]:
    """Yield a growing tool call in one object, as LlamaIndex's integration of OpenAI does."""
    calls: list[Any] = [{"function": {"arguments": ""}}]
    for index in range(5):
        calls[0]["function"]["arguments"] += str(index)
        message = ChatMessage(role="assistant", blocks=[TextBlock(text="")], additional_kwargs={"tool_calls": calls})
        yield ChatResponse(message=message, delta="", raw={"tool_calls": calls})


def adds_to_a_block() -> Iterator[ChatResponse]:
    """Yield a growing text and a growing signature in one object each, as the integration of Anthropic does."""
    text, thinking = TextBlock(text=""), ThinkingBlock(content="", additional_information={"signature": ""})
    message = ChatMessage(role="assistant", blocks=[])
    message.blocks = [thinking, text]
    for index in range(5):
        text.text += f"{index} "
        thinking.additional_information["signature"] += "s"
        yield ChatResponse(message=message, delta=f"{index} ")


def completes_a_text() -> Iterator[CompletionResponse]:
    """Yield a growing text."""
    for index in range(5):
        yield CompletionResponse(text="la" * (index + 1), delta="la")


STREAMS = [adds_to_a_call, adds_to_a_block, completes_a_text]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_is_rebuilt_piece_by_piece(stream: Callable[[], Iterator[Any]]) -> None:
    """Each piece is as it was when it came, although later ones change its message in place."""
    expected = [copy.deepcopy(piece) for piece in stream()]
    form = through_a_file(ExactAnswer(None, [piece_of(piece) for piece in stream()]))
    assert answers.pieces_of(form) == expected
    assert list(map(repr, answers.pieces_of(form))) == list(map(repr, expected))
    assert answers.response_of(form) == expected[-1]


def test_a_stream_without_a_piece() -> None:
    """An empty stream is a stream, no missing answer."""
    form = through_a_file(ExactAnswer(None, []))
    assert form == {"form": "llamaindex.answer", "pieces": []}
    assert answers.pieces_of(form) == []


def test_an_answer_read_as_a_stream() -> None:
    """An answer that was not streamed is one piece with all of the text."""
    [piece] = answers.pieces_of(through_a_file(ExactAnswer(chat(TextBlock(text="all of it")))))
    assert piece == chat(TextBlock(text="all of it"), delta="all of it")


def test_a_mask_sees_whole_texts() -> None:
    """Where a mask is set, a stream is one piece: the mask cannot find a secret that is cut in two."""
    pieces = [piece_of(chat(TextBlock(text=text), delta=delta)) for text, delta in (("ab", "ab"), ("abcd", "cd"))]
    configure(mask=lambda data: data)
    form = through_a_file(ExactAnswer(None, pieces))
    assert answers.pieces_of(form) == [chat(TextBlock(text="abcd"), delta="abcd")]


def test_a_long_stream_takes_little_more_than_its_text() -> None:
    """The pieces repeat the whole message; the form has each part of it once."""
    message = ""
    pieces = []
    for _ in range(500):
        message += "a word "
        pieces.append(piece_of(chat(TextBlock(text=message), delta="a word ")))
    assert len(json.dumps(ExactAnswer(None, pieces)())) < 60 * len(message)


def test_a_stream_that_broke() -> None:
    """The pieces that came, and the error's form."""
    error = {"type": "builtins.TimeoutError", "args": ["too late"]}
    form = through_a_file(ExactAnswer(None, [piece_of(chat(HI, delta="hi"))], error))
    assert answers.pieces_of(form) == [chat(HI, delta="hi")]
    assert form["error"] == error


def test_what_has_no_exact_form_is_a_text() -> None:
    """A client's own object in `raw` is rebuilt as its text; the rest of the answer is exact."""

    class Native:
        def __repr__(self) -> str:
            return "<native>"

    back = answers.response_of(through_a_file(ExactAnswer(chat(HI, raw={"native": Native(), "id": 1}))))
    assert back == chat(HI, raw={"native": "<native>", "id": 1})


def test_a_class_that_is_not_there() -> None:
    """A model of a package that is not installed any more is rebuilt as the dict of its fields."""
    form = {"$": "model", "class": "gone_provider.types:Answer", "fields": {"a": [1]}}
    assert object_form.rebuilt(form) == {"a": [1]}
    assert object_form.rebuilt({**form, "class": "openai.types.chat:NoSuchClass"}) == {"a": [1]}


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"$": "text", "class": "subprocess:Popen", "text": "true"}, "not made from a text"),
        ({"$": "model", "class": "subprocess:Popen", "fields": {}}, "no BaseModel"),
        ({"$": "dataclass", "class": "subprocess:Popen", "fields": {}}, "no dataclass"),
        ({"$": "enum", "class": "os:system", "value": "true"}, "no Enum"),
        ({"$": "pickle"}, "newer release"),
        ({"$": "bytes"}, "incomplete"),
    ],
)
def test_a_form_edited_by_hand(form: Any, problem: str) -> None:
    """A form makes nothing but values: it cannot name any other class or function."""
    with pytest.raises(ValueError, match=problem):
        object_form.rebuilt(form)


def test_pieces_edited_by_hand() -> None:
    """A piece that does not fit the one before is a ValueError with its number."""
    with pytest.raises(ValueError, match="Piece 2"):
        answers.pieces_of({"pieces": [{"=": {"a": 1}}, {"#": {"0": {"=": 1}}}]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
def test_any_series_comes_back(values: list[Any]) -> None:
    """The differences of any JSON values lead to the same values, of the same types, keys in the same order."""
    series = deltas.series_of(json.loads(json.dumps(deltas.deltas_of(values))))
    assert list(map(json.dumps, series)) == list(map(json.dumps, values))


@given(JSON)
def test_any_json_is_its_own_form(value: Any) -> None:
    """Plain values come back as the same values of the same types."""
    assert repr(object_form.rebuilt(json.loads(json.dumps(object_form.form_of(value))))) == repr(value)

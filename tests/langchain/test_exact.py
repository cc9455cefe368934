"""The exact form of a model's answer: an equal object is rebuilt from the row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatResult, GenerationChunk

from langchain_runs import recorded
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain.exact import chunks_of, generations_of
from scripted_chat import ScriptedChat, ScriptedStream, calls

pytestmark = pytest.mark.langchain

CALL: Any = {"name": "search", "args": {"q": "hay"}, "id": "c1", "type": "tool_call"}
BAD_CALL: Any = {"name": "s", "args": "{", "id": "c", "error": "bad", "type": "invalid_tool_call"}
SIGNATURES = "__gemini_function_call_thought_signatures__"
USAGE: Any = {
    "input_tokens": 11,
    "output_tokens": 7,
    "total_tokens": 18,
    "input_token_details": {"cache_read": 4},
    "output_token_details": {"reasoning": 3},
}
ANSWERS = {
    "text": AIMessage("hello"),
    "tool call": AIMessage("", tool_calls=[CALL]),
    "invalid tool call": AIMessage("", invalid_tool_calls=[BAD_CALL]),
    "thinking with a signature": AIMessage(
        [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "text", "text": "hi"}]
    ),
    "encrypted reasoning": AIMessage(
        [
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []},
            {"type": "text", "text": "hi"},
        ]
    ),
    "reasoning content": AIMessage("hi", additional_kwargs={"reasoning_content": "hm"}),
    "refusal": AIMessage("", additional_kwargs={"refusal": "no"}),
    "parsed structured output": AIMessage('{"a":1}', additional_kwargs={"parsed": {"a": 1}}),
    "audio": AIMessage("", additional_kwargs={"audio": {"id": "au", "data": "UklGRgAAAAAAAAAA", "transcript": "hi"}}),
    "thought signatures of calls": AIMessage(
        "", tool_calls=[CALL], additional_kwargs={SIGNATURES: {"c1": "c2ln"}, "raw": b"\xff\x00"}
    ),
    "finish reason and model": AIMessage("hi", response_metadata={"finish_reason": "length", "model_name": "m"}),
    "log probabilities": AIMessage(
        "hi", response_metadata={"logprobs": {"content": [{"token": "hi", "logprob": -0.1}]}}
    ),
    "usage": AIMessage("hi", usage_metadata=USAGE),
    "id": AIMessage("hi", id="chatcmpl-1"),
    "name and a data URI": AIMessage("data:image/png;base64,iVBORw0KGgoAAAAA", name="herder"),
}


class Answering(BaseChatModel):
    """A chat model that answers with one message and a report beside it."""

    answer: Any
    report: Any = None

    @property
    def _llm_type(self) -> str:
        return "answering"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        generation = ChatGeneration(message=self.answer.model_copy(deep=True), generation_info={"index": 0})
        return ChatResult(generations=[generation], llm_output=self.report)


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_equal_answer_is_rebuilt_from_the_row(no_open_runs: RecordedSessions, kind: str) -> None:
    """Whatever an answer holds, the message that the application got is rebuilt, media and bytes included."""
    answer = Answering(answer=ANSWERS[kind]).invoke("q", recorded())
    [row] = no_open_runs.observations
    [generation] = generations_of(row.exact)
    assert generation.message == answer
    assert generation.generation_info == {"index": 0}
    assert type(generation.message) is AIMessage


def test_the_report_beside_the_candidates_is_kept(no_open_runs: RecordedSessions) -> None:
    """The provider's report, which other callback handlers read, is in the exact form."""
    Answering(answer=AIMessage("hi"), report={"token_usage": {"total_tokens": 3}}).invoke("q", recorded())
    [row] = no_open_runs.observations
    assert row.exact["llm_output"] == {"token_usage": {"total_tokens": 3}}


def test_a_streamed_answer_keeps_the_boundaries_of_its_chunks(no_open_runs: RecordedSessions) -> None:
    """The chunks are rebuilt one by one, and a run of words takes one text each."""
    model = ScriptedStream("one two three", calls(("search", {"q": "hay"}, "c1"), ("read", {}, "c2")))
    for _ in range(2):
        no_open_runs.clear()
        chunks = list(model.stream("q", recorded()))
        [row] = no_open_runs.observations
        assert [chunk.message for chunk in chunks_of(row.exact)] == chunks
        assert all(type(chunk) is AIMessageChunk for chunk in chunks)
    no_open_runs.clear()
    list(model.stream("q", recorded()))
    [row] = no_open_runs.observations
    assert row.exact["chunks"][1:3] == ["two ", "three "]


def test_an_answer_that_was_not_streamed_can_be_streamed_as_one_chunk(no_open_runs: RecordedSessions) -> None:
    """An application that begins to stream gets the whole answer as one chunk, tool calls included."""
    answer = ScriptedChat(calls(("search", {"q": "hay"}, "c1"))).invoke("q", recorded())
    [row] = no_open_runs.observations
    [chunk] = chunks_of(row.exact)
    assert chunk.message.tool_calls == answer.tool_calls
    assert chunk.message.usage_metadata == answer.usage_metadata


class Completing(LLM):
    """A text model that answers `hay`."""

    @property
    def _llm_type(self) -> str:
        return "completing"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **options: Any) -> str:
        return "hay"

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[GenerationChunk]:
        for letter in "hay":
            if run_manager is not None:
                run_manager.on_llm_new_token(letter, chunk=GenerationChunk(text=letter))
            yield GenerationChunk(text=letter)


def test_a_text_models_answer_is_rebuilt(no_open_runs: RecordedSessions) -> None:
    """A text model's answer is text, streamed or not."""
    model = Completing()
    assert model.invoke("q", recorded()) == "hay"
    [row] = no_open_runs.observations
    assert [each.text for each in generations_of(row.exact)] == ["hay"]
    assert row.exact["form"] == "langchain.text"
    no_open_runs.clear()
    assert list(model.stream("q", recorded())) == ["h", "a", "y"]
    [row] = no_open_runs.observations
    assert [chunk.text for chunk in chunks_of(row.exact)] == ["h", "a", "y"]


class Limited(Exception):
    """A provider's error with what applications read from it."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.response = object()


def test_an_error_keeps_its_class_and_what_applications_read(no_open_runs: RecordedSessions) -> None:
    """A failed call keeps class, arguments and plain attributes of the exception, and no object of the provider."""
    with pytest.raises(TypeError):  # the scripted model raises a new one with the same arguments
        ScriptedChat(Limited("slow down", 429)).invoke("q", recorded())
    [row] = no_open_runs.observations
    assert row.exact["error"]["type"] == "builtins.TypeError"

    def limit(messages: Any) -> Any:
        raise Limited("slow down", 429)

    no_open_runs.clear()
    with pytest.raises(Limited):
        ScriptedChat(limit).invoke("q", recorded())
    [row] = no_open_runs.observations
    name = f"{Limited.__module__}.Limited"
    error = {"type": name, "args": ["slow down"], "attributes": {"status_code": 429}}
    assert (row.exact["form"], row.exact["error"], row.exact.keys() & {"generations", "chunks"}) == (
        "langchain.chat",
        error,
        set(),
    )


def test_the_exact_form_is_plain_json(no_open_runs: RecordedSessions) -> None:
    """A form holds nothing but JSON, and defaults are left out of it."""
    ScriptedChat("hi").invoke("q", recorded())
    [row] = no_open_runs.observations
    form = json.loads(json.dumps(row.exact))
    assert form["generations"][0]["content"] == "hi"
    assert "invalid_tool_calls" not in form["generations"][0]

"""Turns of LlamaIndex's chat engines, at once and streamed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.memory import ChatMemoryBuffer

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_llamaindex import chats
from llamaindex.alpacas import ANSWER, QUERY, RETRIEVAL, consumed
from llamaindex.scripted import ScriptedLLM, TextLLM
from peers.waiting import until


def chat_engine(index: VectorStoreIndex, mode: str, *script: str) -> Any:
    """Return a chat engine whose model says *script*."""
    options: dict[str, Any] = {"llm": TextLLM(list(script)), "memory": ChatMemoryBuffer.from_defaults()}
    return SimpleChatEngine.from_defaults(**options) if mode == "simple" else index.as_chat_engine(mode, **options)


TURNS = {
    "simple": [{"chain SimpleChatEngine": ["generation TextLLM"]}],
    "context": [{"chain ContextChatEngine": [RETRIEVAL, ANSWER]}],
    "condense_plus_context": [{"chain CondensePlusContextChatEngine": [RETRIEVAL, ANSWER]}],
}


@pytest.mark.parametrize("mode", TURNS)
def test_a_turn_of_a_chat_engine(settled: RecordedSessions, index: VectorStoreIndex, mode: str) -> None:
    """Message and answer are texts; what the engine did is inside."""
    chat_engine(index, mode, "They hum.").chat("What do they do?")
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert (trace.roots[0].input, trace.roots[0].output) == ("What do they do?", "They hum.")


@pytest.mark.parametrize("mode", ["simple", "context", "condense_plus_context"])
def test_a_streamed_turn_ends_with_the_whole_answer(
    settled: RecordedSessions, index: VectorStoreIndex, mode: str
) -> None:
    """A thread of LlamaIndex reads the model and writes the history: the turn ends with it."""
    response = chat_engine(index, mode, "They hum softly.").stream_chat("What do they do?")
    assert "".join(response.response_gen) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert trace.roots[0].output == "They hum softly."
    assert trace.one("TextLLM").first_token
    assert trace.roots[0].ended_ns >= trace.one("TextLLM").ended_ns


@pytest.mark.asyncio
async def test_a_chat_engine_around_a_query_engine(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The query is a row of its own inside of the turn, streamed or not."""
    engine = chat_engine(index, "condense_question", "They hum.", "So do they hum?", "They do.")
    await engine.achat("What do they do?")
    response = await engine.astream_chat("Really?")
    assert "".join([piece async for piece in response.async_response_gen()]) == "They do."
    first, second = settled.traces
    assert first.tree() == [{"chain CondenseQuestionChatEngine": [QUERY]}]
    assert second.tree() == [{"chain CondenseQuestionChatEngine": ["generation TextLLM", QUERY]}]


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["simple", "context", "condense_plus_context"])
async def test_an_async_streamed_turn(settled: RecordedSessions, index: VectorStoreIndex, mode: str) -> None:
    """An async streamed turn has the rows of a sync one, though a task writes its history instead of a thread."""
    response = await chat_engine(index, mode, "They hum softly.").astream_chat("What do they do?")
    assert "".join([piece async for piece in response.async_response_gen()]) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert trace.roots[0].output == "They hum softly."


@pytest.mark.asyncio
async def test_a_streamed_turn_that_breaks(settled: RecordedSessions) -> None:
    """The model fails while the turn is read: the error is on the turn and on the generation."""

    llm = ScriptedLLM([ConnectionError("no network")])
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults())
    response = await engine.astream_chat("Hm?")
    with pytest.raises(ConnectionError):
        async for _ in response.async_response_gen():
            pass
    trace = settled.trace()
    assert trace.tree() == [{"chain SimpleChatEngine": ["generation ScriptedLLM"]}]
    assert [found.level for found in trace.observations] == ["ERROR", "ERROR"]


def test_the_next_turn_has_the_history(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Two turns are two traces of one session; the second's model sees the first."""
    engine = chat_engine(index, "simple", "Hello.", "They hum.")
    with langfuse_manager.session("s-1"):
        engine.chat("Hi.")
        engine.chat("What do they do?")
    first, second = settled.of("s-1").traces
    assert [first.tree(), second.tree()] == [TURNS["simple"]] * 2
    assert second.one("TextLLM").input == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "What do they do?"},
    ]


# -- engines of the application's own


class HandMade(BaseChatEngine):
    """A chat engine that streams in one of several ways."""

    def __init__(self, answer: Callable[[], StreamingAgentChatResponse]) -> None:
        self.answer = answer

    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> StreamingAgentChatResponse:
        """Answer later."""
        return self.answer()

    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> Any:
        """Not needed here."""

    achat = astream_chat = chat  # type: ignore[assignment]

    def reset(self) -> None:
        """The engine keeps no history."""

    @property
    def chat_history(self) -> list[ChatMessage]:
        """Nothing."""
        return []


def written_elsewhere(text: str) -> Callable[[], StreamingAgentChatResponse]:
    """Return what answers with *text*, read off the model by a thread that knows nothing of the turn."""

    def answer() -> StreamingAgentChatResponse:
        stream = TextLLM([text]).stream_chat([ChatMessage(role="user", content="?")])
        response = StreamingAgentChatResponse(chat_stream=stream)
        memory = ChatMemoryBuffer.from_defaults()
        threading.Thread(target=response.write_response_to_history, args=(memory,)).start()
        return response

    return answer


def test_a_turn_meets_the_thread_that_knows_nothing_of_it(settled: RecordedSessions) -> None:
    """Every turn has the text of its own answer, under its own session, in whatever order threads and turns end."""
    said = [f"{number} alpacas hum." for number in range(20)]
    responses = []
    for number, text in enumerate(said):
        with langfuse_manager.session(f"s-{number}"):
            responses.append(HandMade(written_elsewhere(text)).stream_chat("How many?"))
    assert [consumed(response) for response in reversed(responses)] == said[::-1]
    until(lambda: not settled.still_open)
    for number, text in enumerate(said):
        (trace,) = settled.of(f"s-{number}").traces
        assert trace.tree() == [{"chain HandMade": ["generation TextLLM"]}]
        assert trace.one("HandMade").output == text


def test_an_engine_that_hands_on_the_answer_of_another(settled: RecordedSessions) -> None:
    """Both turns have the whole text."""
    inner = HandMade(written_elsewhere("They hum."))
    assert consumed(HandMade(lambda: inner.stream_chat("What?")).stream_chat("What?")) == "They hum."
    until(lambda: not settled.still_open)
    trace = settled.trace()
    assert trace.tree() == [{"chain HandMade": [{"chain HandMade": ["generation TextLLM"]}]}]
    assert [row.output for row in trace.observations if row.name == "HandMade"] == ["They hum."] * 2


def read_by_the_caller() -> StreamingAgentChatResponse:
    """Answer with a stream that nobody reads but the caller, as the context engines of older releases do."""
    stream = TextLLM(["They hum softly."]).stream_chat([ChatMessage(role="user", content="?")])
    return StreamingAgentChatResponse(chat_stream=stream, is_writing_to_memory=False)


def test_a_turn_whose_caller_reads_the_model_himself(settled: RecordedSessions) -> None:
    """The turn ends when the caller has read it, under the session of the one who asked."""
    with langfuse_manager.session("s-1"):
        response = HandMade(read_by_the_caller).stream_chat("What do they do?")
    assert settled.still_open == ["HandMade", "TextLLM"]
    with langfuse_manager.session("s-2"):
        assert consumed(response) == "They hum softly."
    assert settled.of("s-2").traces == []
    (trace,) = settled.of("s-1").traces
    assert trace.tree() == [{"chain HandMade": ["generation TextLLM"]}]
    assert trace.one("HandMade").output == "They hum softly."


def test_a_turn_whose_caller_leaves(settled: RecordedSessions) -> None:
    """A stream that he closes, or never reads, ends the turn as cancelled, with what had come."""
    stream = HandMade(read_by_the_caller).stream_chat("What?").response_gen
    assert next(stream) == "They"
    del stream
    HandMade(read_by_the_caller).stream_chat("What?")
    gc.collect()
    until(lambda: not settled.still_open)
    left, unread = settled.traces
    assert [trace.one("HandMade").status_message for trace in (left, unread)] == ["cancelled"] * 2
    assert [trace.one("HandMade").output for trace in (left, unread)] == ["They", None]


def test_the_number_of_streamed_answers_is_bounded(settled: RecordedSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many answers are known at most, the newest; and an answer is forgotten with its response."""
    monkeypatch.setattr(chats._answers, "limit", 10)
    gc.collect()
    before = len(chats._answers)
    responses = [StreamingAgentChatResponse() for _ in range(30)]
    answers = [chats.answer_of(response) for response in responses]
    assert before <= 10
    assert len(chats._answers) == 10
    assert [chats.answer_of(response) for response in responses[20:]] == answers[20:]
    del responses
    gc.collect()
    assert len(chats._answers) == 0

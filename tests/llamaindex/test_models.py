"""Model calls of LlamaIndex: one row each, whatever they go through."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
from collections.abc import Generator, Sequence
from typing import Any, ClassVar

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    DocumentBlock,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel, ConfigDict, create_model

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import Observed, RecordedSessions
from langfuse_integration_llamaindex import generations, models
from langfuse_integration_llamaindex.models import asked_model
from llamaindex.scripted import ScriptedLLM, TextLLM, call, lookup, say, tool

HELLO = [ChatMessage(role=MessageRole.USER, content="Hello?")]


class Song(BaseModel):
    """A song."""

    title: str


def only(sessions: RecordedSessions) -> Observed:
    """Return the only observation, which must be a root."""
    (found,) = sessions.trace().observations
    return found


# -- one row each


def test_a_chat(settled: RecordedSessions) -> None:
    """A bare call is a trace of its own under the active session, with messages, model and parameters."""
    with langfuse_manager.session("s-1", "u-1"):
        ScriptedLLM(["Hi."], temperature=0.1).chat(HELLO, top_p=0.9)
    row = only(settled)
    assert row.label == "generation ScriptedLLM"
    assert (row.session_id, row.user_id) == ("s-1", "u-1")
    assert row.input == [{"role": "user", "content": "Hello?"}]
    assert row.output == {"role": "assistant", "content": "Hi."}
    assert (row.model, row.model_parameters) == ("scripted-1", {"temperature": 0.1, "top_p": 0.9})
    assert row.first_token is None


@pytest.mark.asyncio
async def test_an_async_chat(settled: RecordedSessions) -> None:
    """`achat` is the same row."""
    await ScriptedLLM(["Hi."]).achat(HELLO)
    assert only(settled).output == {"role": "assistant", "content": "Hi."}


@pytest.mark.parametrize("method", ["chat", "complete", "achat", "acomplete"])
def test_a_text_model_is_one_row_however_it_is_asked(settled: RecordedSessions, method: str) -> None:
    """LlamaIndex makes chat of completion and async of sync: `achat` is `chat` is `complete`, and one row."""
    asked: Any = "Hello?" if "complete" in method else HELLO
    made = getattr(TextLLM(["Hi."]), method)(asked)
    if asyncio.iscoroutine(made):
        asyncio.run(made)
    row = only(settled)
    assert row.label == "generation TextLLM"
    assert row.input == ("Hello?" if "complete" in method else [{"role": "user", "content": "Hello?"}])
    assert row.output == ("Hi." if "complete" in method else {"role": "assistant", "content": "Hi."})


@pytest.mark.parametrize("method", ["predict", "apredict"])
@pytest.mark.parametrize("llm", [TextLLM, ScriptedLLM])
def test_a_prediction_is_the_model_call(settled: RecordedSessions, method: str, llm: Any) -> None:
    """The template's wrapper around the call makes no row of its own; the input is the filled template."""
    made = getattr(llm(["Hi."]), method)(PromptTemplate("Greet {name}."), name="Ada")
    if asyncio.iscoroutine(made):
        asyncio.run(made)
    row = only(settled)
    assert row.label == f"generation {llm.__name__}"
    assert "Greet Ada." in (row.input if isinstance(row.input, str) else row.input[0]["content"])
    assert row.output in ("Hi.", {"role": "assistant", "content": "Hi."})


@pytest.mark.parametrize("options", [{}, {"allow_parallel_tool_calls": True}])
def test_a_call_with_tools_offers_them(settled: RecordedSessions, options: dict[str, Any]) -> None:
    """The tools are a part of the input, as names, descriptions and schemas."""
    ScriptedLLM([call("lookup", {"city": "Rome"})]).chat_with_tools([tool(lookup)], "Rome?", **options)
    row = only(settled)
    assert row.input["messages"] == [{"role": "user", "content": "Rome?"}]
    (offered,) = row.input["tools"]
    assert offered["function"]["name"] == "lookup"
    assert offered["function"]["parameters"]["properties"]["city"]["type"] == "string"


def test_tools_that_are_objects_are_written_as_they_are_offered(settled: RecordedSessions) -> None:
    """Some integrations pass the tools themselves; never an object's repr."""

    def undocumented(city: str) -> str:
        return city

    ScriptedLLM(["Hi."]).chat(HELLO, tools=[tool(undocumented), tool(lookup)])
    first, second = only(settled).input["tools"]
    assert first["function"]["name"] == "undocumented"
    assert second["function"]["parameters"]["properties"] == {"city": {"title": "City", "type": "string"}}


def test_predict_and_call_is_the_model_call_and_the_tool_call(settled: RecordedSessions) -> None:
    """Here the model call and the tool are real things beside each other."""
    llm = ScriptedLLM([call("lookup", {"city": "Rome"})])
    assert str(llm.predict_and_call([tool(lookup)], "Rome?")) == "sunny in Rome"
    trace = settled.trace()
    assert trace.tree() == [{"chain ScriptedLLM.predict_and_call": ["generation ScriptedLLM", "tool lookup"]}]
    assert (trace.roots[0].input, trace.roots[0].output) == ("Rome?", "sunny in Rome")


# -- structured answers


def test_a_structured_prediction_is_one_generation(settled: RecordedSessions) -> None:
    """The program, the tool that builds the object and the model call are one thing, whose output is the object."""
    llm = ScriptedLLM([call("Song", {"title": "Hum"})])
    assert llm.structured_predict(Song, PromptTemplate("Sing of {what}."), what="alpacas") == Song(title="Hum")
    row = only(settled)
    assert row.label == "generation ScriptedLLM"
    assert row.input["messages"] == [{"role": "user", "content": "Sing of alpacas."}]
    assert row.output == {"title": "Hum"}


@pytest.mark.asyncio
async def test_an_async_structured_prediction_is_one_generation(settled: RecordedSessions) -> None:
    """An async structured prediction is one generation whose output is the object."""
    llm = ScriptedLLM([call("Song", {"title": "Hum"})])
    await llm.astructured_predict(Song, PromptTemplate("Sing."))
    assert only(settled).output == {"title": "Hum"}


def test_a_structured_model_is_one_generation(settled: RecordedSessions) -> None:
    """`as_structured_llm` goes by the name of the model that answers."""
    ScriptedLLM([call("Song", {"title": "Hum"})]).as_structured_llm(Song).chat(HELLO)
    row = only(settled)
    assert (row.label, row.model) == ("generation ScriptedLLM", "scripted-1")
    assert row.input == [{"role": "user", "content": "Hello?"}]
    assert row.output == {"role": "assistant", "content": '{"title":"Hum"}'}


@pytest.mark.parametrize(
    ("program", "llm"),
    [
        (FunctionCallingProgram, lambda: ScriptedLLM([call("Song", {"title": "Hum"})])),
        (LLMTextCompletionProgram, lambda: TextLLM(['{"title": "Hum"}'])),
    ],
)
def test_a_program_is_one_generation(settled: RecordedSessions, program: Any, llm: Any) -> None:
    """Called by itself it is the row, under the name of its model."""
    model = llm()
    made = program.from_defaults(output_cls=Song, prompt_template_str="Sing of {what}.", llm=model)
    assert made(what="alpacas") == Song(title="Hum")
    row = only(settled)
    assert row.label == f"generation {type(model).__name__}"
    assert row.output == {"title": "Hum"}


def test_a_structured_stream_is_one_generation(settled: RecordedSessions) -> None:
    """A structured stream and the model's stream inside it are one generation."""
    llm = ScriptedLLM([call("Song", {"title": "Hum"})])
    stream = llm.stream_structured_predict(Song, PromptTemplate("Sing."))
    assert settled.still_open == ["ScriptedLLM"]
    list(stream)
    row = only(settled)
    assert row.label == "generation ScriptedLLM"
    assert row.output["tool_calls"][0]["function"]["name"] == "Song"
    assert row.first_token


# -- streams


def test_a_stream_ends_when_it_is_read(settled: RecordedSessions) -> None:
    """The row is open until the last piece, and has the whole text and the time of the first token."""
    stream = ScriptedLLM(["Alpacas hum softly."]).stream_chat(HELLO)
    assert settled.still_open == ["ScriptedLLM"]
    assert next(stream).delta == "Alpacas"
    list(stream)
    row = only(settled)
    assert row.output == {"role": "assistant", "content": "Alpacas hum softly."}
    assert row.first_token is not None
    assert row.level == "DEFAULT"


@pytest.mark.asyncio
async def test_an_async_stream_ends_when_it_is_read(settled: RecordedSessions) -> None:
    """An async stream's row ends with its last piece and has the whole text."""
    stream = await ScriptedLLM(["Alpacas hum softly."]).astream_chat(HELLO)
    assert [part.delta async for part in stream] == ["Alpacas", " hum", " softly."]
    assert only(settled).output == {"role": "assistant", "content": "Alpacas hum softly."}


@pytest.mark.parametrize("method", ["stream_complete", "stream_chat"])
def test_a_streamed_text_model_is_one_row(settled: RecordedSessions, method: str) -> None:
    """A chat stream is made of a completion stream: one row with the whole text."""
    list(getattr(TextLLM(["Alpacas hum."]), method)("Hm?" if method == "stream_complete" else HELLO))
    row = only(settled)
    assert row.label == "generation TextLLM"
    assert row.output in ("Alpacas hum.", {"role": "assistant", "content": "Alpacas hum."})


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["astream_complete", "astream_chat"])
async def test_an_async_stream_that_begins_a_sync_one_is_one_row(settled: RecordedSessions, method: str) -> None:
    """The sync stream begins in the reader's context, which knows of no call: it is found by who reads it."""
    stream = await getattr(TextLLM(["Alpacas hum."]), method)("Hm?" if method == "astream_complete" else HELLO)
    assert "".join([part.delta async for part in stream]) == "Alpacas hum."
    assert only(settled).label == "generation TextLLM"


@pytest.mark.asyncio
async def test_two_such_streams_of_one_model_read_in_turns(settled: RecordedSessions) -> None:
    """Each sync stream goes to the async one that began it, also when another one of the same model is under way."""
    llm = TextLLM(lambda prompt: f"Answer {prompt}.")
    first, second = await llm.astream_complete("one"), await llm.astream_complete("two")
    assert (await anext(first)).delta == (await anext(second)).delta == "Answer"
    with langfuse_manager.trace_span("between"):
        llm.complete("three")
    for stream in (second, first):
        async for _ in stream:
            pass
    assert sorted((found.input, found.output) for found in settled.observations if found.type == "generation") == [
        ("one", "Answer one."),
        ("three", "Answer three."),
        ("two", "Answer two."),
    ]
    assert {len(trace.observations) for trace in settled.traces} == {1, 2}


@pytest.mark.parametrize("llm", [ScriptedLLM, TextLLM])
def test_streamed_tokens_of_a_template(settled: RecordedSessions, llm: Any) -> None:
    """`stream` gives tokens; the row is the model call with its text."""
    assert "".join(llm(["Alpacas hum."]).stream(PromptTemplate("What of {x}?"), x="alpacas")) == "Alpacas hum."
    row = only(settled)
    assert row.label == f"generation {llm.__name__}"
    assert row.output in ("Alpacas hum.", {"role": "assistant", "content": "Alpacas hum."})
    assert row.first_token


def test_an_abandoned_stream_keeps_what_came(settled: RecordedSessions) -> None:
    """A stream whose reader leaves is cancelled, without an error, with the text so far."""
    stream = ScriptedLLM(["Alpacas hum softly."]).stream_chat(HELLO)
    next(stream)
    stream.close()
    row = only(settled)
    assert (row.level, row.status_message) == ("DEFAULT", "cancelled")
    assert row.output == {"role": "assistant", "content": "Alpacas"}


@pytest.mark.parametrize("method", ["stream_chat", "stream"])
def test_a_stream_that_is_never_read_ends_when_it_is_gone(settled: RecordedSessions, method: str) -> None:
    """LlamaIndex tells nothing, ever; the row ends with the stream object, without an output."""
    stream = getattr(ScriptedLLM(["Hm."]), method)(HELLO if method == "stream_chat" else PromptTemplate("Hm?"))
    assert settled.still_open == ["ScriptedLLM"]
    del stream
    gc.collect()
    row = only(settled)
    assert (row.level, row.status_message, row.output) == ("DEFAULT", "cancelled", None)


@pytest.mark.asyncio
async def test_a_cancelled_async_stream(settled: RecordedSessions) -> None:
    """The reader's task is cancelled between two pieces: cancelled, with what had come."""
    reached = asyncio.Event()

    async def never() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def read() -> None:
        async for _ in await ScriptedLLM(["Alpacas hum."], pause=never).astream_chat(HELLO):
            pass

    reader = asyncio.create_task(read())
    await reached.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    row = only(settled)
    assert (row.level, row.status_message, row.output["content"]) == ("DEFAULT", "cancelled", "Alpacas")


@pytest.mark.asyncio
async def test_a_cancelled_call(settled: RecordedSessions) -> None:
    """A call that is cancelled while the model answers is DEFAULT and cancelled."""
    reached = asyncio.Event()

    async def never() -> None:
        reached.set()
        await asyncio.Event().wait()

    asking = asyncio.create_task(ScriptedLLM(["Hm."], pause=never).achat(HELLO))
    await reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (only(settled).level, only(settled).status_message) == ("DEFAULT", "cancelled")


def test_a_stream_that_breaks(settled: RecordedSessions) -> None:
    """The error is on the row."""
    with pytest.raises(ConnectionError):
        list(ScriptedLLM([ConnectionError("no network")]).stream_chat(HELLO))
    assert (only(settled).level, only(settled).status_message) == ("ERROR", "ConnectionError: no network")


def test_a_call_that_fails(settled: RecordedSessions) -> None:
    """The error is on the row, with the input."""
    with pytest.raises(ConnectionError):
        ScriptedLLM([ConnectionError("no network")]).chat(HELLO)
    row = only(settled)
    assert (row.level, row.status_message) == ("ERROR", "ConnectionError: no network")
    assert row.input == [{"role": "user", "content": "Hello?"}]


# -- models of other people


class Bare(CustomLLM):
    """A model whose methods lack LlamaIndex's decorators, so that it sends no events."""

    @property
    def metadata(self) -> LLMMetadata:
        """Say what it is called."""
        return LLMMetadata(model_name="bare-1")

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        """Complete at once."""
        return CompletionResponse(text="Hi.", raw={"usage": {"prompt_tokens": 3, "completion_tokens": 2}})

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        """Complete word by word."""

        def answer() -> Generator[CompletionResponse, None, None]:
            yield CompletionResponse(text="Hi.", delta="Hi.")

        return answer()


def test_a_model_without_events_is_described_by_its_call(settled: RecordedSessions) -> None:
    """Input, output and tokens come from arguments and result."""
    Bare().complete("Hello?", temperature=0.2)
    row = only(settled)
    assert (row.label, row.input, row.output) == ("generation Bare", "Hello?", "Hi.")
    assert row.usage == {"input": 3, "output": 2}
    assert row.model_parameters["temperature"] == 0.2


def test_a_model_that_cannot_describe_itself(settled: RecordedSessions) -> None:
    """A description that raises is not asked for to see whether there is one; the call ends as any other."""

    class Unknown(Bare):
        @property
        def metadata(self) -> LLMMetadata:
            raise ValueError("unknown model")

        def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
            raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        Unknown().complete("Hello?")
    row = only(settled)
    assert (row.label, row.input, row.model, row.level) == ("generation Unknown", "Hello?", None, "ERROR")
    assert "no network" in (row.status_message or "")


def test_a_stream_without_events_ends_when_it_is_gone(settled: RecordedSessions) -> None:
    """The row of a stream whose end has no event does not claim that it was cancelled."""
    for _ in Bare().stream_complete("Hello?"):
        pass
    gc.collect()
    row = only(settled)
    assert (row.label, row.input, row.level, row.status_message) == ("generation Bare", "Hello?", "DEFAULT", None)


def test_a_model_that_asks_two_others(settled: RecordedSessions) -> None:
    """The first is folded into the row around it; the second is a real call more, and a row of its own."""

    class Careful(TextLLM):
        def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
            try:
                ScriptedLLM([ConnectionError("no network")]).chat(HELLO)
            except ConnectionError:
                pass
            return CompletionResponse(text=str(ScriptedLLM(["Hi."]).chat(HELLO).message.content))

    assert Careful([]).complete("Hello?").text == "Hi."
    assert settled.trace().tree() == [{"generation ScriptedLLM": ["generation ScriptedLLM"]}]


class Odd:
    """A response of a provider that nobody has heard of."""

    @property
    def usage(self) -> Any:
        """Tell something that is no usage."""
        return "lots"


@pytest.mark.parametrize(
    "raw", [None, "text", b"bytes", 7, [1], Odd(), {"usage": None}, {"usage": {"input_tokens": "x"}}]
)
def test_an_answer_with_any_raw_response_is_recorded(settled: RecordedSessions, raw: Any) -> None:
    """What a provider's client returned may be anything: there is a row, and no usage."""
    ScriptedLLM(["Hi."], raw=raw).chat(HELLO)
    row = only(settled)
    assert (row.output, row.usage, row.model) == ({"role": "assistant", "content": "Hi."}, {}, "scripted-1")


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        (
            {
                "model": "gpt-5",
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 30,
                    "total_tokens": 130,
                    "prompt_tokens_details": {"cached_tokens": 40},
                    "completion_tokens_details": {"reasoning_tokens": 10},
                },
            },
            {"input": 60, "input_cached_tokens": 40, "output": 20, "output_reasoning_tokens": 10},
        ),
        (
            {
                "usage": {
                    "input_tokens": 60,
                    "output_tokens": 30,
                    "cache_read_input_tokens": 40,
                    "cache_creation_input_tokens": 5,
                }
            },
            {"input": 60, "input_cached_tokens": 40, "input_cache_creation": 5, "output": 30},
        ),
        (
            {
                "model": "gemini-3-pro-preview",
                "usage_metadata": {
                    "prompt_token_count": 100,
                    "candidates_token_count": 20,
                    "cached_content_token_count": 40,
                    "thoughts_token_count": 7,
                    "total_token_count": 127,
                },
            },
            {"input": 60, "input_cached_tokens": 40, "output": 20, "output_reasoning": 7},
        ),
        ({"usage": {"inputTokens": 10, "outputTokens": 4, "totalTokens": 14}}, {"input": 10, "output": 4}),
        ({"prompt_eval_count": 10, "eval_count": 4}, {"input": 10, "output": 4}),
        ({"meta": {"billed_units": {"input_tokens": 10.0, "output_tokens": 4.0}}}, {"input": 10, "output": 4}),
        (
            {"response": {"meta": {"tokens": {"input_tokens": 10.0, "output_tokens": 4.0}, "cached_tokens": 6.0}}},
            {"input": 4, "input_cached_tokens": 6, "output": 4},
        ),
        ({"inputTextTokenCount": 10, "results": [{"tokenCount": 3}, {"tokenCount": 1}]}, {"input": 10, "output": 4}),
    ],
    ids=["openai", "anthropic", "google", "bedrock", "ollama", "cohere", "cohere streamed", "titan"],
)
def test_tokens_are_counted_once(settled: RecordedSessions, raw: dict[str, Any], usage: dict[str, int]) -> None:
    """Whatever a provider calls them, each token is in one bucket."""
    ScriptedLLM(["Hi."], raw=raw).chat(HELLO)
    assert only(settled).usage == usage


def test_titan_says_how_it_ended_beside_the_text(settled: RecordedSessions) -> None:
    """The reason stands in the first of its results."""
    raw = {"inputTextTokenCount": 10, "results": [{"tokenCount": 4, "completionReason": "FINISH"}]}
    ScriptedLLM(["Hi."], raw=raw).chat(HELLO)
    assert only(settled).metadata["finish_reason"] == "FINISH"


def test_a_wrapper_and_its_inner_call_count_their_tokens_once(settled: RecordedSessions) -> None:
    """The row of a structured model has the usage of the call inside of it."""
    raw = {"usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    ScriptedLLM([call("Song", {"title": "Hum"})], raw=raw).as_structured_llm(Song).chat(HELLO)
    assert only(settled).usage == {"input": 9, "output": 4}


def test_the_model_that_answered_is_named(settled: RecordedSessions) -> None:
    """A provider answers with an exact version of what was asked for."""
    ScriptedLLM(["Hi."], raw={"model": "scripted-1-2026-11"}).chat(HELLO)
    assert only(settled).model == "scripted-1-2026-11"


def _without_raw(response: Any) -> None:
    response.raw = None


def _without_extra(response: Any) -> None:
    response.message = say("mine")


@pytest.mark.parametrize("change", [_without_raw, _without_extra])
def test_what_the_application_drops_of_a_response_is_recorded(settled: RecordedSessions, change: Any) -> None:
    """Model, tokens and ending are those of the response that the model gave, though the application changes it."""
    raw = {"model": "scripted-1-2026-11", "usage": {"prompt_tokens": 9, "completion_tokens": 4}, "stop_reason": "end"}
    for _ in range(20):
        change(ScriptedLLM(["Hi."], raw=raw).chat(HELLO))
    for trace in settled.traces:
        (row,) = trace.observations
        assert (row.model, row.usage) == ("scripted-1-2026-11", {"input": 9, "output": 4})
        assert row.metadata["finish_reason"] == "end"


class OwnField(BaseModel):
    """A model with a field."""

    model_name: str = "named"


class OfTheClass(BaseModel):
    """A model whose class has the name."""

    model: ClassVar[str] = "named"


class Computed(BaseModel):
    """A model that computes its name."""

    @property
    def metadata(self) -> LLMMetadata:
        """Return the name alone."""
        return LLMMetadata(model_name="named")


class Open(BaseModel):
    """A model that takes any field."""

    model_config = ConfigDict(extra="allow")


class Asked(BaseModel):
    """A model that answers to a name itself."""

    def __getattr__(self, name: str) -> Any:
        if name == "model_id":
            return "named"
        raise AttributeError(name)


class Plain:
    """A model that is no model of pydantic."""

    def __init__(self) -> None:
        self.model_id = "named"


@pytest.mark.parametrize(
    "model",
    [OwnField(), OfTheClass(), Computed(), Open(model="named"), Asked(), Plain()],
    ids=lambda model: type(model).__name__,
)
def test_the_name_of_a_model_is_found(model: Any) -> None:
    """Wherever a class keeps its name it is found, each time; a model without one has none."""
    assert [asked_model(model), asked_model(model)] == ["named", "named"]
    assert [asked_model(Song(title="Hum")), asked_model(Song(title="Hum"))] == [None, None]


def test_classes_made_on_the_fly_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the classes of models is bounded."""
    monkeypatch.setattr(models, "KINDS_LIMIT", 3)
    for number in range(5):
        asked_model(create_model(f"Made{number}")())
    assert len(models._lacking) == 3


def test_announced_calls_are_bounded(settled: RecordedSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calls whose end LlamaIndex never announces the oldest give way; their rows end all the same."""
    monkeypatch.setattr(generations, "ANNOUNCED_LIMIT", 2)
    streams = [ScriptedLLM(["Hi."]).stream_chat(HELLO) for _ in range(4)]
    assert len(generations.announced) == 2
    for stream in streams:
        list(stream)
    assert [row.output["content"] for trace in settled.traces for row in trace.observations] == ["Hi."] * 4


# -- what messages look like


@pytest.mark.parametrize("way", ["bytes", "data url"])
def test_media_are_references(settled: RecordedSessions, way: str) -> None:
    """The bytes of images, sounds and documents are uploaded and replaced; an address stays an address."""
    pixels = b"\x89PNG" + bytes(range(60))
    uri = "data:image/png;base64," + base64.b64encode(pixels).decode()
    image = ImageBlock(image=pixels, image_mimetype="image/png") if way == "bytes" else ImageBlock(url=uri)
    blocks: Sequence[Any] = [
        *(TextBlock(text="What is this?"), image, ImageBlock(url="https://example.com/alpaca.png")),
        *(AudioBlock(audio=pixels, format="mp3"), DocumentBlock(data=pixels, document_mimetype="application/pdf")),
    ]
    ScriptedLLM(["An alpaca."]).chat([ChatMessage(role=MessageRole.USER, blocks=list(blocks))])
    (message,) = only(settled).input
    text, inline, linked, sound, document = message["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert (inline["type"], linked["url"]) == ("image", "https://example.com/alpaca.png")
    for part, content_type in ((inline, "image/png"), (sound, "audio/mp3"), (document, "application/pdf")):
        assert part["url"].startswith(f"@@@langfuseMedia:type={content_type}|id=")
    assert "base64," not in str(message)


def test_what_the_application_changes_later_does_not_show(settled: RecordedSessions) -> None:
    """The list of messages is what it was at the time of the call."""
    messages = list(HELLO)
    ScriptedLLM(["Hi."]).chat(messages)
    messages.append(ChatMessage(role=MessageRole.ASSISTANT, content="later"))
    assert len(only(settled).input) == 1


def test_extra_entries_of_a_message_are_kept(settled: RecordedSessions) -> None:
    """Integrations put what OpenAI's form does not know into `additional_kwargs`."""
    message = ChatMessage(role=MessageRole.USER, content="Hm?", additional_kwargs={"citations": ["a"], "name": "Ada"})
    ScriptedLLM(["Hi."]).chat([message])
    assert only(settled).input == [
        {"role": "user", "content": "Hm?", "name": "Ada", "additional_kwargs": {"citations": ["a"]}}
    ]


def test_a_response_of_an_undecorated_chat(settled: RecordedSessions) -> None:
    """A chat model without decorators shows its messages and its message."""

    class BareChat(Bare):
        def chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
            return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="Hi."))

    BareChat().chat(HELLO)
    row = only(settled)
    assert row.input == [{"role": "user", "content": "Hello?"}]
    assert row.output == {"role": "assistant", "content": "Hi."}


def _rewrite(response: Any) -> None:
    response.message.content = "mine"


def _append(response: Any) -> None:
    response.message.blocks.append(TextBlock(text="mine"))


def _edit(response: Any) -> None:
    response.message.blocks[0].text = "mine"


def _tag(response: Any) -> None:
    response.message.additional_kwargs["tag"] = "mine"


def _replace(response: Any) -> None:
    response.message = say("mine")


@pytest.mark.parametrize("change", [_rewrite, _append, _edit, _tag, _replace])
@pytest.mark.parametrize("way", ["chat", "achat", "stream"])
def test_an_answer_is_what_the_model_said(settled: RecordedSessions, change: Any, way: str) -> None:
    """What the application makes of a response afterwards is neither in the model's row nor in its exact form."""
    model, asked = ScriptedLLM(["hay"] * 3), [ChatMessage("?")]
    model.chat(asked)
    if way == "stream":
        response = list(model.stream_chat(asked))[-1]
    else:
        response = model.chat(asked) if way == "chat" else asyncio.run(model.achat(asked))
    change(response)
    model.chat([*asked, response.message])
    untouched, changed, later = (observation for trace in settled.traces for observation in trace.observations)
    assert changed.output == untouched.output == later.output
    assert "mine" not in json.dumps(changed.exact)
    assert "mine" in json.dumps(later.input)

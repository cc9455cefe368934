"""The model server, seen by the real clients of LangChain."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from peers.models import ModelServer, Reply, ToolCall, Usage, call, calls, fail, refuse, say
from peers.waiting import until

USAGE = Usage(input_tokens=100, output_tokens=30, cached_tokens=40, cache_write_tokens=7, reasoning_tokens=20)
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
    },
}
KEY = SecretStr("key")


def chat(server: ModelServer) -> BaseChatModel:
    """Return OpenAI's chat completions; with a foreign base URL the client asks for usage only if told to."""
    return ChatOpenAI(model="gpt-5", base_url=server.openai_url, api_key=KEY, stream_usage=True)


def responses(server: ModelServer) -> BaseChatModel:
    """Return OpenAI's responses."""
    return ChatOpenAI(model="gpt-5", base_url=server.openai_url, api_key=KEY, use_responses_api=True)


def messages(server: ModelServer, **options: Any) -> BaseChatModel:
    """Return Anthropic's messages."""
    return ChatAnthropic(model_name="claude-5", base_url=server.anthropic_url, api_key=KEY, **options)


Client = Callable[[ModelServer], BaseChatModel]
every_client = pytest.mark.parametrize("client", [chat, responses, messages])


def whole(stream: list[AIMessageChunk]) -> AIMessageChunk:
    """Return the sum of the chunks of a stream."""
    return sum(stream[1:], stream[0])


@every_client
def test_text_model_and_usage_arrive(model_server: ModelServer, client: Client) -> None:
    """A plain answer: text, the model that answered, totals and their parts; the server keeps what was asked."""
    model_server.script(say("Alpacas hum.", usage=USAGE, model="model-of-today"))
    answer = client(model_server).invoke("What do alpacas do?")
    assert answer.text == "Alpacas hum."
    assert answer.response_metadata["model_name"] == "model-of-today"
    assert usage_of(answer) == (100, 30, 40)
    assert [request.body["model"][:3] for request in model_server.requests] in (["gpt"], ["cla"])
    assert "What do alpacas do?" in str(model_server.requests[0].body)


@every_client
def test_a_stream_comes_word_by_word_and_ends_with_usage(model_server: ModelServer, client: Client) -> None:
    """The words of the text are chunks of their own; the sum has the usage."""
    model_server.script(say("Alpacas hum softly.", usage=USAGE))
    stream = collected(client(model_server))
    assert [chunk.text for chunk in stream if chunk.text] == ["Alpacas", " hum", " softly."]
    assert usage_of(whole(stream)) == (100, 30, 40)
    assert model_server.requests[0].body["stream"] is True


@every_client
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls_arrive_with_their_ids(model_server: ModelServer, client: Client, streamed: bool) -> None:
    """Text and two calls in one answer come out the same, streamed or not; the offered tool was sent."""
    first, second = ToolCall("search", {"query": "wool"}, "c1"), ToolCall("search", {"query": 'a "b"'}, "c2")
    model_server.script(calls(first, second, text="Let me look."))
    model = client(model_server)
    bound = model.bind_tools([SEARCH])
    answer: AIMessage = whole(collected(bound)) if streamed else bound.invoke("Look.")
    assert answer.text == "Let me look."
    assert [(made["name"], made["args"], made["id"]) for made in answer.tool_calls] == [
        ("search", {"query": "wool"}, "c1"),
        ("search", {"query": 'a "b"'}, "c2"),
    ]
    assert model_server.requests[0].tools == ["search"]


@every_client
def test_replies_are_used_up_in_order(model_server: ModelServer, client: Client) -> None:
    """One reply a request; without any the client gets an error that says so, and no retry."""
    model_server.script(call("search", {"query": "wool"}), say("Alpacas."))
    model = client(model_server)
    assert model.invoke("a").tool_calls[0]["id"] == "call_1"
    assert (model.invoke("b").text, model_server.left) == ("Alpacas.", 0)
    with pytest.raises(Exception, match="no scripted reply is left"):
        model.invoke("c")
    assert len(model_server.requests) == 3


def test_unscripted_requests_can_be_answered_by_what_they_ask(model_server: ModelServer) -> None:
    """A function answers where the order of requests is not known."""
    model_server.unscripted = lambda request: say(f"to {request.body['messages'][-1]['content']}")
    assert [answer.text for answer in chat(model_server).batch(["a", "b", "c"])] == ["to a", "to b", "to c"]


def test_reasoning_comes_in_each_providers_form(model_server: ModelServer) -> None:
    """Responses give a summary, Anthropic a signed thinking block, both also streamed; reasoning tokens are a part."""
    reply = say("Four.", reasoning="Two and two.", usage=USAGE)
    model_server.script(reply, reply, reply, reply)
    thinking = {"type": "enabled", "budget_tokens": 1024}  # a stream of this client hides what was not asked for
    for model in (responses(model_server), messages(model_server, thinking=thinking, max_tokens_to_sample=2048)):
        for answer in (model.invoke("2+2"), whole(collected(model))):
            blocks = [(block["type"], block.get("reasoning")) for block in answer.content_blocks]
            assert blocks == [("reasoning", "Two and two."), ("text", None)]
            assert answer.usage_metadata is not None
            assert answer.usage_metadata.get("output_token_details", {}).get("reasoning") == 20


def test_refusals_come_in_each_providers_form(model_server: ModelServer) -> None:
    """Chat completions have a field, responses a content part, Anthropic a stop reason."""
    model_server.script(refuse("No."), refuse("No."), refuse("No."))
    assert chat(model_server).invoke("x").additional_kwargs["refusal"] == "No."
    [part] = responses(model_server).invoke("x").content_blocks
    # A block of its own since langchain-core 1.8.
    assert part.get("value", part) == {
        "type": "refusal",
        "refusal": "No.",
        "id": "msg_1",
    }
    refused = messages(model_server).invoke("x")
    assert (refused.text, refused.response_metadata["stop_reason"]) == ("No.", "refusal")


@every_client
@pytest.mark.parametrize(("status", "requests"), [(400, 1), (429, 3), (500, 3)])
def test_errors_are_those_of_the_provider(
    model_server: ModelServer, client: Client, status: int, requests: int
) -> None:
    """The client raises the provider's error with its message, after its own retries where it has them."""
    model_server.script(*[fail(status, "broken on purpose")] * requests)
    with pytest.raises(Exception, match="broken on purpose") as caught:
        client(model_server).invoke("x")
    assert getattr(caught.value, "status_code", None) == status
    assert (len(model_server.requests), model_server.left) == (requests, 0)


@every_client
def test_an_overload_that_passes_is_retried_by_the_client(model_server: ModelServer, client: Client) -> None:
    """A 429 and then an answer: the caller sees the answer, the server two requests."""
    model_server.script(fail(429), say("Now."))
    assert client(model_server).invoke("x").text == "Now."
    assert len(model_server.requests) == 2


@every_client
def test_a_cut_stream_breaks_after_what_came(model_server: ModelServer, client: Client) -> None:
    """The connection drops after two words: the client has them and raises its transport's error."""
    model_server.script(say("one two three four", cut_after=2))
    came: list[str] = []
    with pytest.raises(Exception, match="incomplete chunked read") as caught:
        came.extend(chunk.text for chunk in client(model_server).stream("x"))
    assert type(caught.value).__name__ == "RemoteProtocolError"
    assert [text for text in came if text] == ["one", " two"]


@every_client
def test_a_cut_answer_is_a_connection_error(model_server: ModelServer, client: Client) -> None:
    """An answer that is not streamed breaks in the middle; the client tries thrice and says so."""
    model_server.script(*[say("one two three four", cut_after=1)] * 3)
    with pytest.raises(Exception, match=r"Connection error\."):
        client(model_server).invoke("x")
    assert (len(model_server.requests), model_server.left) == (3, 0)


@every_client
def test_a_held_stream_waits_for_the_test(model_server: ModelServer, client: Client) -> None:
    """After the first word nothing comes until the test lets the rest through."""
    release = threading.Event()
    model_server.script(say("one two three", hold=release))
    came: list[str] = []
    stream = client(model_server).stream("x")
    reader = threading.Thread(target=lambda: came.extend(chunk.text for chunk in stream if chunk.text))
    reader.start()
    until(lambda: came == ["one"])
    assert reader.is_alive()
    release.set()
    reader.join(60)
    assert came == ["one", " two", " three"]


def test_closing_releases_a_held_stream() -> None:
    """A test that leaves a stream held does not keep the server from closing."""
    with ModelServer() as server:
        server.script(Reply(text="one two", hold=threading.Event()))
        stream = chat(server).stream("x")
        until(lambda: next(stream).text == "one")
    with pytest.raises(Exception, match="incomplete chunked read"):
        list(stream)


def collected(model: Any) -> list[AIMessageChunk]:
    """Return the chunks of a stream."""
    return list(model.stream("x"))


def usage_of(answer: AIMessage) -> tuple[int, int, int | None]:
    """Return the tokens of input, output and cache."""
    assert answer.usage_metadata is not None
    details = answer.usage_metadata.get("input_token_details", {})
    return answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"], details.get("cache_read")

"""The model server, seen by the real clients of LlamaIndex."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import httpx
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI

from peers.models import ModelServer, ToolCall, Usage, calls, fail, refuse, say

USAGE = Usage(input_tokens=100, output_tokens=30, cached_tokens=40)
ANTHROPIC_CLIENT = int(version("anthropic").split(".")[0])


def openai(server: ModelServer) -> FunctionCallingLLM:
    """Return OpenAI's chat completions."""
    return OpenAI(model="gpt-4o", api_base=server.openai_url, api_key="key", max_retries=0)


def anthropic(server: ModelServer) -> FunctionCallingLLM:
    """Return Anthropic's messages."""
    return Anthropic(model="claude-sonnet-4-5", base_url=server.anthropic_url, api_key="key", max_retries=0)


def search(query: str) -> str:
    """Search."""
    return query


TOOL = FunctionTool.from_defaults(search)
ASKED = [ChatMessage("What do alpacas do?")]
# llama-index-llms-anthropic 0.12.3 allows every anthropic from 0.75 and works with none from 1.0 on.
CLIENTS = [openai, anthropic] if ANTHROPIC_CLIENT < 1 else [openai]
every_client = pytest.mark.parametrize("client", CLIENTS)
Client = Callable[[ModelServer], FunctionCallingLLM]


@every_client
def test_text_and_usage_arrive(model_server: ModelServer, client: Client) -> None:
    """A plain answer has its text and, in `raw`, the provider's usage."""
    model_server.script(say("Alpacas hum.", usage=USAGE))
    answer = client(model_server).chat(ASKED)
    assert answer.message.content == "Alpacas hum."
    raw: Any = answer.raw
    if client is openai:
        assert (raw.usage.prompt_tokens, raw.usage.prompt_tokens_details.cached_tokens) == (100, 40)
    else:
        assert (raw["usage"].input_tokens, raw["usage"].cache_read_input_tokens) == (60, 40)


@every_client
def test_a_stream_comes_word_by_word(model_server: ModelServer, client: Client) -> None:
    """The words of the text are deltas of their own."""
    model_server.script(say("Alpacas hum softly."))
    stream = list(client(model_server).stream_chat(ASKED))
    assert [part.delta for part in stream if part.delta] == ["Alpacas", " hum", " softly."]


@every_client
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tool_calls_arrive_with_their_ids(model_server: ModelServer, client: Client, streamed: bool) -> None:
    """Two calls in one answer come out the same, streamed or not; the offered tool was sent."""
    first, second = ToolCall("search", {"query": "wool"}, "c1"), ToolCall("search", {"query": "milk"}, "c2")
    model_server.script(calls(first, second))
    model = client(model_server)
    if streamed:
        *_, answer = model.stream_chat_with_tools([TOOL], "Look.", allow_parallel_tool_calls=True)
    else:
        answer = model.chat_with_tools([TOOL], "Look.", allow_parallel_tool_calls=True)
    made = model.get_tool_calls_from_response(answer)
    assert [(one.tool_name, one.tool_kwargs, one.tool_id) for one in made] == [
        ("search", {"query": "wool"}, "c1"),
        ("search", {"query": "milk"}, "c2"),
    ]
    assert model_server.requests[0].tools == ["search"]


@every_client
def test_an_error_is_that_of_the_provider(model_server: ModelServer, client: Client) -> None:
    """The client raises the provider's error with its message."""
    model_server.script(fail(400, "broken on purpose"))
    with pytest.raises(Exception, match="broken on purpose"):
        client(model_server).chat(ASKED)


@every_client
def test_a_cut_stream_breaks_after_what_came(model_server: ModelServer, client: Client) -> None:
    """The connection drops after two words: the client has them and raises its transport's error."""
    model_server.script(say("one two three four", cut_after=2))
    came: list[str | None] = []
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
        came.extend(part.delta for part in client(model_server).stream_chat(ASKED))
    assert [text for text in came if text] == ["one", " two"]


def test_a_refusal_of_openai_has_no_content(model_server: ModelServer) -> None:
    """The refusal is in `raw` only."""
    model_server.script(refuse("No."))
    answer = openai(model_server).chat(ASKED)
    raw: Any = answer.raw
    assert (answer.message.content, raw.choices[0].message.refusal) == (None, "No.")


def test_the_anthropic_client_works_or_fails_before_it_sends(model_server: ModelServer) -> None:
    """With anthropic 1.0 and newer the integration of 2026 fails on its own types; nothing reaches the server."""
    model_server.script(say("Alpacas hum."))
    if ANTHROPIC_CLIENT < 1:
        assert anthropic(model_server).chat(ASKED).message.content == "Alpacas hum."
        return
    with pytest.raises(TypeError):
        anthropic(model_server).chat(ASKED)
    assert model_server.requests == []

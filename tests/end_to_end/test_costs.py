"""Cost by tag, by trace name and by user, computed from the rows that Langfuse receives, is what was really used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("langgraph")
pytest.importorskip("llama_index.core")

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langfuse import get_client, propagate_attributes
from llama_index.core.base.llms.types import ChatMessage

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from langfuse_integration_llamaindex import instrument, uninstrument
from llamaindex.scripted import ScriptedLLM
from peers.otlp import Receiver, Span
from scripted_chat import ScriptedChat

pytestmark = [pytest.mark.langchain, pytest.mark.llamaindex]

PRICE = {"input": 2, "input_cached_tokens": 1, "output": 10}
"""Price of one token in each bucket; a bucket without a price costs nothing, as with Langfuse."""
Key = tuple[str, str]


def cost(usage: dict[str, int]) -> int:
    """Return what a row costs by Langfuse's rule: the sum over the buckets that have a price."""
    return sum(count * PRICE.get(bucket, 0) for bucket, count in usage.items())


def keys_of(row: Span) -> Iterable[Key]:
    """Yield what a row is found by."""
    attributes = row.attributes
    yield "user", attributes.get("user.id", "")
    yield "name", attributes.get("langfuse.trace.name", "")
    yield "session", attributes.get("session.id", "")
    for tag in attributes.get("langfuse.trace.tags", ()):
        yield "tag", tag


def by_langchain(number: int, config: dict[str, Any]) -> int:
    """Ask a LangChain model of which a part of the prompt was cached; return the cost."""
    details = {"cache_read": number}
    usage = {"input_tokens": 3 * number, "output_tokens": number, "total_tokens": 4 * number}
    model = ScriptedChat(AIMessage("Hay.", usage_metadata={**usage, "input_token_details": details}))  # type: ignore[typeddict-item]
    (model | StrOutputParser()).invoke("?", {"callbacks": [SessionHandler()], **config})  # type: ignore[arg-type]
    return 2 * 2 * number + number + 10 * number


def by_llamaindex(number: int) -> int:
    """Ask a LlamaIndex model, whose provider says which part of the prompt was cached; return the cost."""
    details = {"cached_tokens": number}
    raw = {"usage": {"prompt_tokens": 3 * number, "completion_tokens": number, "prompt_tokens_details": details}}
    ScriptedLLM(["Hay."], raw=raw).chat([ChatMessage("?")])
    return 2 * 2 * number + number + 10 * number


def by_nobody(config: dict[str, Any]) -> int:
    """Ask models of both frameworks that fail, whole and streamed; return the cost of a call without an answer."""
    langchain, llamaindex = ScriptedChat(ValueError("broken")), ScriptedLLM([ValueError("broken")] * 2)
    recorded: Any = {"callbacks": [SessionHandler()], **config}
    for ask in (
        lambda: langchain.invoke("?", recorded),
        lambda: list(langchain.stream("?", recorded)),
        lambda: llamaindex.chat([ChatMessage("?")]),
        lambda: list(llamaindex.stream_chat([ChatMessage("?")])),
    ):
        with pytest.raises(ValueError, match="broken"):
            ask()
    return 0


def by_the_sdk(number: int) -> int:
    """Record a generation with Langfuse's own client; return the cost."""
    usage = {"input": number, "output": number}
    with get_client().start_as_current_observation(name="sdk", as_type="generation", usage_details=usage):
        return 12 * number


def turn(number: int) -> Counter[Key]:
    """Have one user's turn, in all ways; return the cost by what it can be found by."""
    user, tag, name = f"user-{number % 3}", f"tag-{number % 2}", f"name-{number % 4}"
    keys = [("user", user), ("name", name), ("session", f"chat-{number}"), ("tag", tag)]
    metadata = {"langfuse_trace_name": name, "langfuse_user_id": user, "langfuse_session_id": f"chat-{number}"}
    spent = by_langchain(number, {"metadata": metadata, "tags": [tag]})
    with langfuse_manager.session(f"chat-{number}", user, tags=[tag], trace_name=name):
        spent += by_llamaindex(number)
        with langfuse_manager.trace_span("around"):
            spent += by_the_sdk(number) + by_langchain(number, {}) + by_llamaindex(number) + by_nobody({})
    with propagate_attributes(user_id=user, session_id=f"chat-{number}", tags=[tag], trace_name=name):
        spent += by_the_sdk(number) + by_langchain(number, {})
    return Counter(dict.fromkeys(keys, spent))


def test_costs_add_up_by_every_key(langfuse: Receiver) -> None:
    """Users, trace names, sessions and tags of LangChain, LlamaIndex and the SDK, in threads: each sum is exact.

    Cached tokens have their own price; failed calls cost nothing, and say so.
    """
    instrument()
    try:
        with ThreadPoolExecutor(4) as pool:
            expected = sum(pool.map(turn, range(1, 9)), Counter[Key]())
    finally:
        uninstrument()
    assert langfuse_manager.flush(30).pending == 0
    received: Counter[Key] = Counter()
    failed = 0
    for row in langfuse.spans:
        usage = json.loads(row.attributes.get("langfuse.observation.usage_details", "{}"))
        if row.attributes.get("langfuse.observation.level") == "ERROR":
            # Without a cost Langfuse would count the tokens of the request itself, and price them.
            assert (usage, row.attributes["langfuse.observation.cost_details"]) == ({}, '{"total":0}')
            failed += 1
        for key in keys_of(row):
            received[key] += cost(usage)
    assert received == expected
    assert failed == 8 * 4
    assert len(expected) == 3 + 4 + 8 + 2

"""How LangChain's objects read: messages as chat, documents as text, nothing as a `repr`."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from langchain_core.agents import AgentAction, AgentFinish
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
from langchain_core.prompt_values import ChatPromptValue, StringPromptValue
from langchain_core.tools import tool
from langgraph.types import Command, Interrupt, Send

from langfuse_integration.encoding.fields import Fields
from langfuse_integration.encoding.fragments import fragments
from langfuse_integration.encoding.json_text import to_json
from langfuse_integration_langchain import SessionHandler, messages
from langfuse_integration_langchain.messages import ChatRequest, GraphInput, PartialAnswer

pytestmark = pytest.mark.langchain


@pytest.fixture(autouse=True)
def known() -> None:
    SessionHandler()
    messages.register_graph_types()


def read(value: Any) -> Any:
    """Return *value* as it is written, parsed."""
    return json.loads(to_json(value))


CALL: Any = {"name": "search", "args": {"query": "wool"}, "id": "call_1", "type": "tool_call"}

SAFE: Any = {"blocked": False, "score": 0, "reasons": {"words": []}}
REPORT: Any = {"id": "r-1", "finish_reason": "COMPLETE", "token_count": {"input_tokens": 60}, "documents": None}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HumanMessage("Hi"), {"role": "user", "content": "Hi"}),
        (HumanMessageChunk("Hi"), {"role": "user", "content": "Hi"}),
        (HumanMessage("Hi", name="alice"), {"role": "user", "content": "Hi", "name": "alice"}),
        (SystemMessage("Be kind."), {"role": "system", "content": "Be kind."}),
        (AIMessage("Hi"), {"role": "assistant", "content": "Hi"}),
        (AIMessageChunk("Hi"), {"role": "assistant", "content": "Hi"}),
        (AIMessage("", tool_calls=[CALL]), {"role": "assistant", "content": "", "tool_calls": [CALL]}),
        (
            AIMessage("", additional_kwargs={"refusal": "No.", "other": 1}),
            {"role": "assistant", "content": "", "refusal": "No.", "additional_kwargs": {"other": 1}},
        ),
        (
            AIMessage("", additional_kwargs={"function_call": {"name": "f"}, "audio": {"id": "a"}, "tool_calls": [1]}),
            {"role": "assistant", "content": "", "function_call": {"name": "f"}, "audio": {"id": "a"}},
        ),
        (  # Gemini's client repeats the last call
            AIMessage(
                "", tool_calls=[CALL], additional_kwargs={"function_call": {"name": "search", "arguments": "{}"}}
            ),
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
        ),
        (  # Cohere's client puts its report into both places
            AIMessage(
                "I will look.",
                additional_kwargs={**REPORT, "tool_plan": "I will look.", "citations": ["c"]},
                response_metadata=REPORT,
            ),
            {"role": "assistant", "content": "I will look.", "additional_kwargs": {"citations": ["c"]}},
        ),
        (
            AIMessage("Hi", additional_kwargs={"id": "mine", "tool_plan": "Other."}, response_metadata={"id": "r-1"}),
            {"role": "assistant", "content": "Hi", "additional_kwargs": {"id": "mine", "tool_plan": "Other."}},
        ),
        (  # LiteLLM's messages have fields that hold nothing but null
            AIMessage("Hi", additional_kwargs={"provider_specific_fields": {"refusal": None}, "safety": SAFE}),
            {"role": "assistant", "content": "Hi", "additional_kwargs": {"safety": SAFE}},
        ),
        (ChatMessage("Hm", role="critic"), {"role": "critic", "content": "Hm"}),
        (FunctionMessage("4", name="add"), {"role": "function", "content": "4", "name": "add"}),
        (ToolMessage("4", tool_call_id="c1"), {"role": "tool", "content": "4", "tool_call_id": "c1"}),
        (
            ToolMessage("no", tool_call_id="c1", status="error"),
            {"role": "tool", "content": "no", "tool_call_id": "c1", "status": "error"},
        ),
        (
            HumanMessage([{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "https://x"}}]),
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look:"},
                    {"type": "image_url", "image_url": {"url": "https://x"}},
                ],
            },
        ),
    ],
)
def test_messages_read_as_chat(message: Any, expected: Any) -> None:
    """Role and content, and what else belongs to a conversation; nothing of LangChain's own bookkeeping."""
    assert read(message) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Document("Wool."), {"page_content": "Wool.", "metadata": {}}),
        (
            [Document("Wool.", metadata={"page": 1}, id="d1")],
            [{"page_content": "Wool.", "metadata": {"page": 1}, "id": "d1"}],
        ),
        (ChatPromptValue(messages=[HumanMessage("Hi")]), [{"role": "user", "content": "Hi"}]),
        (StringPromptValue(text="Hi"), [{"role": "user", "content": "Hi"}]),
        (
            AgentAction(tool="search", tool_input="wool", log="Hm."),
            {"tool": "search", "tool_input": "wool", "log": "Hm."},
        ),
        (
            AgentFinish(return_values={"output": "Hi"}, log="Hm."),
            {"return_values": {"output": "Hi"}, "log": "Hm."},
        ),
        (Command(resume="yes"), {"resume": "yes"}),
        (Command(update={"a": 1}, goto="bob"), {"update": {"a": 1}, "goto": "bob"}),
        (Command(goto=[Send("work", {"x": 1})]), {"goto": [{"node": "work", "arg": {"x": 1}}]}),
        (Interrupt(value={"q": 1}, id="i1"), {"id": "i1", "value": {"q": 1}}),
    ],
)
def test_other_objects_read_as_plain_values(value: Any, expected: Any) -> None:
    """Documents, prompts, actions and LangGraph's commands are what they hold."""
    assert read(value) == expected


def test_a_conversation_with_tools_reads_as_a_request() -> None:
    """Messages and tools side by side, as Langfuse's server looks for them; a bare tool object is described."""

    @tool
    def add(left: int, right: int) -> int:
        """Add."""
        return left + right

    described = {"type": "function", "function": {"name": "search"}}
    found = read(ChatRequest([HumanMessage("Hi")], [described, add]))
    assert found["messages"] == [{"role": "user", "content": "Hi"}]
    assert found["tools"][0] == described
    assert found["tools"][1]["function"]["name"] == "add"


@pytest.mark.parametrize(
    "given",
    [
        "Hi",
        [("user", "Hi")],
        [("human", "Hi")],
        ["Hi"],
        [["user", "Hi"]],
        [HumanMessage("Hi")],
        [{"role": "user", "content": "Hi"}],
        HumanMessage("Hi"),
    ],
)
def test_the_input_of_a_graph_reads_as_chat(given: Any) -> None:
    """LangGraph takes messages in many short forms: all read the same, and other keys stay."""
    assert read(GraphInput({"messages": given, "more": 1})) == {
        "messages": [{"role": "user", "content": "Hi"}],
        "more": 1,
    }


def test_parts_of_an_answer_add_up() -> None:
    """What was streamed is put together: text, tool calls, plain text models, v3 events, and chunks that do not fit."""
    chunks = [ChatGenerationChunk(message=AIMessageChunk(word)) for word in ("one ", "two ")]
    assert read(PartialAnswer(chunks)) == {"role": "assistant", "content": "one two "}
    assert read(PartialAnswer(chunks[:1])) == {"role": "assistant", "content": "one "}
    called = AIMessageChunk("", tool_call_chunks=[{"name": "a", "args": "{}", "id": "c1", "index": 0}])  # type: ignore[typeddict-item]
    assert read(PartialAnswer([*chunks, ChatGenerationChunk(message=called)]))["tool_calls"][0]["name"] == "a"
    assert read(PartialAnswer([GenerationChunk(text="one "), GenerationChunk(text="two")])) == "one two"
    events = [{"event": "content-block-delta", "delta": {"type": "text-delta", "text": word}} for word in ("a", "b")]
    assert read(PartialAnswer(events)) == {"role": "assistant", "content": "ab"}
    misfits = [AIMessageChunk("a", id="1"), ChatMessage("b", role="x")]
    assert (
        read(PartialAnswer([ChatGenerationChunk.model_construct(message=each) for each in misfits]))["content"] == "ab"
    )


def test_a_mask_finds_what_messages_say() -> None:
    """A function that walks through dicts and lists, as Langfuse's guide has it, masks chats, documents and tools."""

    def mask(*, data: Any) -> Any:
        if isinstance(data, str):
            return data.replace("secret", "***")
        if isinstance(data, dict):
            return {key: mask(data=value) for key, value in data.items()}
        return [mask(data=value) for value in data] if isinstance(data, list) else data

    fields = Fields(mask=mask)
    for value in (
        [HumanMessage("a secret")],
        {"messages": [ToolMessage("a secret", tool_call_id="c1")]},
        ChatRequest([AIMessage("a secret")], []),
        GraphInput({"messages": [("user", "a secret")]}),
        [Document("a secret")],
        PartialAnswer([ChatGenerationChunk(message=AIMessageChunk("a secret"))]),
        Command(update={"note": "a secret"}),
    ):
        written = fields.payload(value)
        assert "secret" not in written
        assert "a ***" in written


def test_a_message_is_written_once() -> None:
    """A history that grows by a message is serialised by that message, not anew."""
    history: list[Any] = [HumanMessage(str(index)) for index in range(50)]
    to_json(history)
    fragments.sweep()  # else a new message may take the place of one that is gone
    before = len(fragments)
    assert len(read([*history, AIMessage("Hi")])) == 51
    assert len(fragments) == before + 1


def test_a_long_answer_of_a_tool_is_looked_at_by_its_kinds() -> None:
    """Tool messages are looked for with as many calls in a thousand numbers as in one."""
    calls: list[Any] = []
    sys.setprofile(lambda frame, event, argument: calls.append(event) if event.endswith("call") else None)
    try:
        assert messages.tool_outcome([0.5] * 1_000, "c1")[0] is None
        assert messages.tool_outcome({"numbers": [0.5] * 1_000}, "c1")[0] is None
    finally:
        sys.setprofile(None)
    assert len(calls) < 20
    failed = ToolMessage("no", tool_call_id="c1", status="error")
    assert messages.tool_outcome([0.5, Command(update={"messages": [failed]})], "c1")[0] == "no"

"""Scripted chat models for LangChain: real `BaseChatModel`s that answer what a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

USAGE = UsageMetadata(
    input_tokens=11,
    output_tokens=7,
    total_tokens=18,
    input_token_details={"cache_read": 4},
    output_token_details={"reasoning": 2},
)
BUCKETS = {"input": 7, "input_cached_tokens": 4, "output": 5, "output_reasoning_tokens": 2}
"""USAGE as disjoint buckets."""

Reply = str | AIMessage | BaseException | Callable[[list[BaseMessage]], Any]


def call(tool: str, arguments: dict[str, Any], call_id: str = "call_1") -> AIMessage:
    """Return an answer that asks for one tool call."""
    return calls((tool, arguments, call_id))


def calls(*tool_calls: tuple[str, dict[str, Any], str]) -> AIMessage:
    """Return an answer that asks for several tool calls at once."""
    return AIMessage("", tool_calls=[{"name": tool, "args": args, "id": call_id} for tool, args, call_id in tool_calls])


class Hold:
    """Stops a model or tool half-way, until the test lets it go on or cancels it."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.released = threading.Event()

    def wait(self) -> None:
        """Stop here."""
        self.reached.set()
        assert self.released.wait(60)

    async def wait_async(self) -> None:
        """Stop here, and let other tasks run."""
        self.reached.set()
        while not self.released.is_set():
            await asyncio.sleep(0.002)

    async def until_reached(self) -> None:
        """Wait until something has stopped here."""
        while not self.reached.is_set():
            await asyncio.sleep(0.002)


class ScriptedChat(BaseChatModel):
    """Answers with its replies in turn, repeatedly; a function is called with the messages, an exception is raised."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    replies: list[Any] = []
    hold: Any = None
    model_name: str = "scripted-1"
    prompts: list[list[BaseMessage]] = []

    def __init__(self, *replies: Reply, **options: Any) -> None:
        super().__init__(replies=list(replies), prompts=[], **options)

    @property
    def _llm_type(self) -> str:
        return "scripted-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": 0.5}

    def bind_tools(self, tools: Any, **options: Any) -> Runnable[Any, Any]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **options)

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        self.prompts.append(messages)
        reply = self.replies[(len(self.prompts) - 1) % len(self.replies)]
        if callable(reply):
            reply = reply(messages)
        if isinstance(reply, BaseException):
            raise type(reply)(*reply.args)  # a new one: this one would keep the frames of the call alive
        answer = AIMessage(reply) if isinstance(reply, str) else reply.model_copy()
        answer.usage_metadata = answer.usage_metadata or USAGE
        answer.response_metadata = {"model_name": "scripted-1-of-today", "finish_reason": "stop"}
        return answer

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        if self.hold is not None:
            self.hold.wait()
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        if self.hold is not None:
            await self.hold.wait_async()
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])


class ScriptedStream(ScriptedChat):
    """Streams its replies word by word; the last part has tool calls and usage. A hold stops it after one word."""

    def _parts(self, messages: Any) -> Iterator[ChatGenerationChunk]:
        reply = self._reply(messages)
        for word in str(reply.content).split(" ") if reply.content else []:
            yield ChatGenerationChunk(message=AIMessageChunk(word + " "))
        last = AIMessageChunk(
            "",
            tool_calls=reply.tool_calls,
            usage_metadata=reply.usage_metadata,
            response_metadata=reply.response_metadata,
        )
        yield ChatGenerationChunk(message=last)

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for index, part in enumerate(self._parts(messages)):
            if index and self.hold is not None:
                self.hold.wait()
            if run_manager is not None:
                run_manager.on_llm_new_token(part.text, chunk=part)
            yield part

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for index, part in enumerate(self._parts(messages)):
            if index and self.hold is not None:
                await self.hold.wait_async()
            if run_manager is not None:
                await run_manager.on_llm_new_token(part.text, chunk=part)
            yield part
            await asyncio.sleep(0)

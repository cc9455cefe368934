"""Models of LlamaIndex that say what a test scripts, and the tools, nodes and events that go with them."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool, ToolSelection
from pydantic import PrivateAttr

Reply = str | ChatMessage | Exception
Script = Sequence[Reply] | Callable[[Sequence[ChatMessage]], Reply]


def say(text: str) -> ChatMessage:
    """Return a message of the assistant."""
    return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def call(name: str, arguments: dict[str, Any] | None = None, call_id: str = "c1") -> ChatMessage:
    """Return a message that asks for one tool call."""
    return calls((name, arguments or {}, call_id))


def calls(*tool_calls: tuple[str, dict[str, Any], str]) -> ChatMessage:
    """Return a message that asks for several tool calls, as (tool, arguments, id)."""
    made = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for name, arguments, call_id in tool_calls
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, content=None, additional_kwargs={"tool_calls": made})


class ScriptedLLM(FunctionCallingLLM):
    """A chat model that calls tools, and answers with the next reply of its script.

    Args:
        script: replies in their order, or a function from the messages to a reply; an exception is raised.
        raw: what every answer carries as the provider's own response.
        pause: called before every answer, and awaited; a test holds the model there.
    """

    model: str = "scripted-1"
    temperature: float = 0.5
    _script: Any = PrivateAttr()
    _raw: Any = PrivateAttr()
    _pause: Any = PrivateAttr()
    _count: int = PrivateAttr(default=0)

    def __init__(
        self, script: Script, *, raw: Any = None, pause: Callable[[], Any] | None = None, **fields: Any
    ) -> None:
        super().__init__(**fields)
        self._script = script
        self._raw = raw
        self._pause = pause

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex registers the model."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Return the metadata of a chat model that calls tools."""
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True, model_name=self.model)

    def _reply(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        if callable(self._script):
            reply = self._script(messages)
        else:
            reply = self._script[self._count]
            self._count += 1
        if isinstance(reply, Exception):
            raise reply
        return say(reply) if isinstance(reply, str) else reply

    def _pieces(self, message: ChatMessage) -> list[tuple[str, ChatMessage]]:
        words = (message.content or "").split(" ") if message.content else [""]
        pieces, text = [], ""
        for index, word in enumerate(words):
            delta = word if index == 0 else " " + word
            text += delta
            content = text if message.content else None
            made = ChatMessage(role=message.role, content=content, additional_kwargs=message.additional_kwargs)
            pieces.append((delta, made))
        return pieces

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        """Answer at once."""
        return ChatResponse(message=self._reply(messages), raw=self._raw)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        """Answer at once, after the pause."""
        if self._pause is not None:
            await self._pause()
        return ChatResponse(message=self._reply(messages), raw=self._raw)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> Generator[ChatResponse, None, None]:
        """Answer word by word."""

        def answer() -> Generator[ChatResponse, None, None]:
            for delta, message in self._pieces(self._reply(messages)):
                yield ChatResponse(message=message, delta=delta, raw=self._raw)

        return answer()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> AsyncGenerator[ChatResponse, None]:
        """Answer word by word; the pause is after the first."""

        async def answer() -> AsyncGenerator[ChatResponse, None]:
            for index, (delta, message) in enumerate(self._pieces(self._reply(messages))):
                if index == 1 and self._pause is not None:
                    await self._pause()
                await asyncio.sleep(0)
                yield ChatResponse(message=message, delta=delta, raw=self._raw)

        return answer()

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        """Complete a text."""
        return CompletionResponse(text=self._reply([]).content or "", raw=self._raw)

    async def acomplete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        """Complete a text."""
        return self.complete(prompt)

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponseGen:
        """Complete a text word by word."""
        raise NotImplementedError

    async def astream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> Any:
        """Complete a text word by word."""
        raise NotImplementedError

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **options: Any
    ) -> Any:
        messages = list(chat_history or [])
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        if user_msg is not None:
            messages.append(user_msg)
        offered = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        return {"messages": messages, "tools": offered, "tool_choice": "auto"}

    def get_tool_calls_from_response(self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any) -> Any:
        """Return the tool calls that an answer asks for."""
        return [
            ToolSelection(
                tool_id=made["id"],
                tool_name=made["function"]["name"],
                tool_kwargs=json.loads(made["function"]["arguments"]),
            )
            for made in response.message.additional_kwargs.get("tool_calls", [])
        ]


class TextLLM(CustomLLM):
    """A model that completes texts, as models that run on one's own machine do; chat is made of it by LlamaIndex.

    Args:
        script: as for `ScriptedLLM`, but a function gets the prompt.
    """

    _script: Any = PrivateAttr()
    _count: int = PrivateAttr(default=0)

    def __init__(self, script: Sequence[str | Exception] | Callable[[str], str], **fields: Any) -> None:
        super().__init__(**fields)
        self._script = script

    @property
    def metadata(self) -> LLMMetadata:
        """Return the metadata with the model's name."""
        return LLMMetadata(model_name="text-1")

    def _text(self, prompt: str) -> str:
        if callable(self._script):
            return str(self._script(prompt))
        reply = self._script[self._count]
        self._count += 1
        if isinstance(reply, Exception):
            raise reply
        return reply

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        """Complete at once."""
        return CompletionResponse(text=self._text(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponseGen:
        """Complete word by word."""

        def answer() -> CompletionResponseGen:
            text = ""
            for index, word in enumerate(self._text(prompt).split(" ")):
                delta = word if index == 0 else " " + word
                text += delta
                yield CompletionResponse(text=text, delta=delta)

        return answer()


def lookup(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


async def alookup(city: str) -> str:
    """Tell the weather of a city, without blocking."""
    await asyncio.sleep(0)
    return f"sunny in {city}"


def tool(function: Callable[..., Any], **options: Any) -> FunctionTool:
    """Return a tool, sync or async by its function."""
    if inspect.iscoroutinefunction(function):
        return FunctionTool.from_defaults(async_fn=function, **options)
    return FunctionTool.from_defaults(function, **options)

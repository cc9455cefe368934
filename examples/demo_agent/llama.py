"""The demo's agent, built with LlamaIndex: its tools, and a model that needs no key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import mind
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LLMMetadata, MessageRole, ToolCallBlock
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.tools.types import ToolMetadata
from pydantic import create_model

CallTool = Callable[[str, dict[str, Any]], Awaitable[str]]


class ScriptedLLM(MockFunctionCallingLLM):
    """Thinks for a moment, then asks for a tool or answers."""

    model: str = mind.NAME

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex shows."""
        return "ScriptedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """Return the metadata of a chat model that calls tools."""
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True, model_name=self.model)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponse:
        """Return the next tool call, or the answer."""
        question_index = max(place for place, message in enumerate(messages) if message.role == MessageRole.USER)
        names = {
            block.tool_call_id: block.tool_name
            for message in messages
            for block in message.blocks
            if isinstance(block, ToolCallBlock)
        }
        results = {
            names.get(message.additional_kwargs.get("tool_call_id"), ""): message.content or ""
            for message in messages[question_index + 1 :]
            if message.role == MessageRole.TOOL
        }
        step = mind.next_step(messages[question_index].content or "", results)
        read = mind.tokens("".join(message.content or "" for message in messages))
        written = mind.tokens(step if isinstance(step, str) else str(step.arguments)) + 1
        await asyncio.sleep(written * mind.SECONDS_A_TOKEN)
        if isinstance(step, str):
            answer = ChatMessage(role=MessageRole.ASSISTANT, content=step)
        else:
            block = ToolCallBlock(tool_call_id=step.id, tool_name=step.tool, tool_kwargs=step.arguments)
            answer = ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return ChatResponse(message=answer, raw={"model": self.model, "usage": usage})


def agent(tools: Sequence[Any], call: CallTool, prompt: str) -> Callable[[str], Awaitable[str]]:
    """Return a function that answers questions and remembers them.

    Args:
        tools: as the MCP server lists them.
        call: calls one of them.
    """
    made = FunctionAgent(
        name="librarian",
        description="Answers from the library.",
        system_prompt=prompt,
        tools=[_tool(listed, call) for listed in tools],
        llm=ScriptedLLM(),
        streaming=False,
    )
    memory = ChatMemoryBuffer.from_defaults(token_limit=20_000, llm=made.llm)

    async def answer(question: str) -> str:
        return str(await made.run(question, memory=memory))

    return answer


def _tool(listed: Any, call: CallTool) -> FunctionTool:
    async def run(**arguments: Any) -> str:
        return await call(listed.name, arguments)

    schema = getattr(listed, "input_schema", None) or listed.inputSchema  # mcp 2, mcp 1
    fields: dict[str, Any] = dict.fromkeys(schema["properties"], (str, ...))
    parameters = create_model(listed.name, **fields)
    return FunctionTool(
        async_fn=run, metadata=ToolMetadata(name=listed.name, description=listed.description, fn_schema=parameters)
    )

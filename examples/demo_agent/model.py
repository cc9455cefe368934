"""A chat model for LangChain that needs no key: it says what `mind.py` thinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import mind
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool


class ScriptedModel(BaseChatModel):
    """Thinks for a moment, then asks for a tool or answers."""

    model: str = mind.NAME

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **options: Any) -> Any:
        return {"ls_provider": "scripted", "ls_model_name": self.model, "ls_model_type": "chat"}

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **options: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Take the tools as a provider would get them."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **options)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        message = self._next(messages)
        assert message.usage_metadata is not None
        await asyncio.sleep(message.usage_metadata["output_tokens"] * mind.SECONDS_A_TOKEN)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        question_index = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
        results = {
            message.name or "": message.text
            for message in messages[question_index + 1 :]
            if isinstance(message, ToolMessage)
        }
        step = mind.next_step(messages[question_index].text, results)
        read = mind.tokens("".join(message.text for message in messages))
        written = mind.tokens(step if isinstance(step, str) else str(step.arguments)) + 1
        return AIMessage(
            content=step if isinstance(step, str) else "",
            tool_calls=[]
            if isinstance(step, str)
            else [ToolCall(name=step.tool, args=step.arguments, id=step.id, type="tool_call")],
            usage_metadata={"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
            response_metadata={
                "model_name": self.model,
                "finish_reason": "stop" if isinstance(step, str) else "tool_calls",
            },
        )

"""A chat model that needs no key: it searches, reads the best article, and answers with the sentences that fit.

What it does next follows from the messages alone, so that it serves any number of conversations at once.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does each for from how i in into is it its me much my of on or should that "
        "the to what which who why with would you",
    )
)
CHARACTERS_A_TOKEN = 4
SENTENCES = 2


class ScriptedModel(BaseChatModel):
    """Thinks for a moment, then asks for a tool or answers."""

    model: str = "scripted-librarian"
    seconds_a_token: float = 0.008

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
        await asyncio.sleep(message.usage_metadata["output_tokens"] * self.seconds_a_token)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        asked = max(place for place, message in enumerate(messages) if isinstance(message, HumanMessage))
        question, since = messages[asked].text, messages[asked + 1 :]
        results = {message.name: message.text for message in since if isinstance(message, ToolMessage)}
        if "search" not in results:
            return self._message(messages, call("search", query=" ".join(_words(question))))
        title = re.search(r"^(.+) \(score ", results["search"], re.MULTILINE)
        if "read" not in results and title is not None:
            return self._message(messages, call("read", title=title[1]))
        return self._message(messages, answer=_fitting(question, results.get("read") or results["search"]))

    def _message(self, messages: list[BaseMessage], *calls: ToolCall, answer: str = "") -> AIMessage:
        read = sum(len(message.text) for message in messages) // CHARACTERS_A_TOKEN
        written = (len(answer) + sum(len(str(call["args"])) for call in calls)) // CHARACTERS_A_TOKEN + 1
        return AIMessage(
            content=answer,
            tool_calls=list(calls),
            usage_metadata={"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
            response_metadata={"model_name": self.model, "finish_reason": "tool_calls" if calls else "stop"},
        )


def call(tool: str, **arguments: str) -> ToolCall:
    """Return a call of a tool as a model asks for it."""
    return ToolCall(name=tool, args=arguments, id=f"call_{uuid.uuid4().hex[:12]}", type="tool_call")


def _fitting(question: str, article: str) -> str:
    """Return the sentences of *article* that share most words with *question*, in the article's order."""
    prose = " ".join(line for line in article.splitlines() if not line.startswith("#"))
    sentences = re.split(r"(?<=[.!?]) +", " ".join(prose.split()))
    wanted = set(_words(question))
    best = sorted(sentences, key=lambda sentence: -len(wanted & set(_words(sentence))))[:SENTENCES]
    return " ".join(sentence for sentence in sentences if sentence in best)


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [word.removesuffix("s") if len(word) > 3 else word for word in words if word not in SMALL_WORDS]

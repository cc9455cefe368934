"""A LangChain chat model that calls given tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Scripted(BaseChatModel):
    """Asks for every call of *calls* at once, (tool, arguments), and then repeats the tools' results."""

    calls: list[tuple[str, dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *positional: Any, **options: Any) -> ChatResult:
        results = [message for message in messages if isinstance(message, ToolMessage)]
        if results:
            answer = AIMessage(" and ".join(str(message.text) for message in results))
        else:
            tool_calls = [{"name": name, "args": args, "id": f"c-{n}"} for n, (name, args) in enumerate(self.calls)]
            answer = AIMessage("", tool_calls=tool_calls)
        return ChatResult(generations=[ChatGeneration(message=answer)])

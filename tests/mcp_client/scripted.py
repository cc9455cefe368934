"""A chat model of LangChain that calls the tools it is told to call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Scripted(BaseChatModel):
    """Asks for every call of *calls* at once, (tool, arguments), and then repeats what the tools have said."""

    calls: list[tuple[str, dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *positional: Any, **options: Any) -> ChatResult:
        told = [message for message in messages if isinstance(message, ToolMessage)]
        if told:
            answer = AIMessage(" and ".join(str(message.text) for message in told))
        else:
            asked = [{"name": name, "args": args, "id": f"c-{n}"} for n, (name, args) in enumerate(self.calls)]
            answer = AIMessage("", tool_calls=asked)
        return ChatResult(generations=[ChatGeneration(message=answer)])

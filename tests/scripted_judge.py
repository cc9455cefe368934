"""A runnable that answers typed questions, as langchain-core's `BaseDecisionModel` (1.8) does for its callbacks."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable

REQUEST: Any = {"state": "Is hay food?", "questions": {"risk": {"type": "noul", "criteria": "Is it food?"}}}
ANSWER = {"risk": {"type": "noul", "noul": 0.875, "confidence": None}}
REPORT = {"input_tokens": 11, "output_tokens": 2, "total_tokens": 13}
TOLD = {"model": "judge-1-2026", "answers": ANSWER, "usage": REPORT, "request_id": "req-1"}


class Judge(Runnable[Any, Any]):
    """Answers what a test says, or raises it; counts its calls."""

    def __init__(self, answer: Any, model: str = "judge-1") -> None:
        self.answer = answer
        self.model = model
        self.asked = 0

    def _answer(self, _: Any) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def _answer_async(self, request: Any) -> Any:
        return self._answer(request)

    def _told(self, config: Any) -> Any:
        return {**(config or {}), "metadata": {"ls_provider": "acme", "ls_model_name": self.model, "lane": "fast"}}

    def invoke(self, input: Any, config: Any = None, **_: Any) -> Any:  # noqa: A002
        """Answer, announced as the call of a model."""
        return self._call_with_config(self._answer, input, self._told(config), run_type="llm")

    async def ainvoke(self, input: Any, config: Any = None, **_: Any) -> Any:  # noqa: A002
        """Answer as `invoke` does."""
        return await self._acall_with_config(self._answer_async, input, self._told(config), run_type="llm")

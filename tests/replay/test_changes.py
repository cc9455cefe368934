"""Planted changes of an application: each is one divergence at its step, and nothing else is reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import StructuredTool

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import NotRecorded, ReplayDiverged, replay
from langfuse_integration_langchain import SessionHandler
from replay.recordings import record
from scripted_chat import ScriptedChat, ScriptedStream, call

pytestmark = pytest.mark.langchain

QUESTIONS = ("What do alpacas eat?", "And llamas?")


@dataclass(frozen=True)
class Herding:
    """An application: two agents and a summary, over two turns; each field is something that a change can touch."""

    prompt: str = "Be short."
    second_prompt: str = "Check the answer."
    name: str = "herder"
    tool: str = "search"
    description: str = "Search the library."
    field: str = "query"
    result: Callable[[str], str] = "found {}".format
    model: str = "scripted-1"
    temperature: float = 0.5
    questions: tuple[str, ...] = QUESTIONS
    keeps_history: bool = True
    checks: bool = True
    summaries: int = 1
    summary: str = "Summarise: {}"
    stop: tuple[str, ...] | None = None
    further_tool: bool = False
    drops_system: bool = False
    reorders: bool = False
    between: bool = False

    def run(self, questions: Iterator[str] | None = None, live: bool = True) -> list[str]:
        """Answer the questions, and return the answers."""
        replies: list[Any] = [call("search", {"query": "hay"}), "Hay."] if live else [AssertionError("called")]
        tools = [self._tool(self.tool)]
        if self.further_tool:
            tools.append(self._tool("read"))
        main = ScriptedStream(*replies, model_name=self.model)
        main.__dict__["temperature"] = self.temperature
        system = None if self.drops_system else self.prompt
        agent = create_agent(main, tools, system_prompt=system, name=self.name)
        checker = create_agent(ScriptedChat("Right." if live else AssertionError()), [], system_prompt=self.second_prompt, name="checker")
        config: Any = {"callbacks": [SessionHandler()]}
        history: list[Any] = []
        answers: list[str] = []
        for question in questions if questions is not None else self.questions:
            if self.between:
                self._summarise("between", live, config)
            messages = [*(history if self.keeps_history else []), ("user", question)]
            messages = agent.invoke({"messages": messages}, config)["messages"]
            history = messages
            answer = str(messages[-1].content)
            if self.checks:
                checker.invoke({"messages": [("user", answer)]}, config)
            for _ in range(self.summaries):
                self._summarise(answer, live, config)
            answers.append(answer)
        return answers

    def _summarise(self, answer: str, live: bool, config: Any) -> None:
        model = ScriptedChat("In short." if live else AssertionError(), model_name=self.model)
        model.invoke(self.summary.format(answer), config, **({"stop": list(self.stop)} if self.stop else {}))

    def _tool(self, name: str) -> StructuredTool:
        def look(**arguments: Any) -> str:
            return self.result(next(iter(arguments.values()), ""))

        schema = {"type": "object", "properties": {self.field: {"type": "string"}, "query": {"type": "string"}}}
        return StructuredTool(name=name, description=self.description, args_schema=schema, func=look)

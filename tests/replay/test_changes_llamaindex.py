"""Planted changes of an application of LlamaIndex: each is one divergence at its step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step

import langfuse_integration_llamaindex
from langfuse_integration.testing import ReplaySession
from llamaindex.scripted import ScriptedLLM, call, say
from replay.recordings import divergences, record

pytestmark = [
    pytest.mark.llamaindex,
    # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]


class Sheared(Event):
    """The first of two steps is done."""

    second: str


def found(text: str) -> str:
    """Return what the tool finds."""
    return f"found {text}"


def broken(text: str) -> str:
    """Find nothing."""
    return "the library is closed"


@dataclass(frozen=True)
class Herding:
    """An application: an agent with tools, one that checks its answer, a summary and a workflow with two steps.

    A change touches one field.
    """

    prompt: str | None = "Be short."
    checking: str | None = "Check the answer."
    name: str = "herder"
    tools: tuple[str, ...] = ("search", "count")
    description: str = "Search the library."
    finds: Callable[[str], str] = found
    field: str = "query"
    model: str = "scripted-1"
    temperature: float = 0.5
    keeps_history: bool = True
    trims: bool = False
    steps: tuple[str, ...] = ("herd", "check", "summarise", "work")
    summary: str = "Summarise: {}"
    role: str = "user"
    work: tuple[str, str] = ("shear", "feed")
    alone: bool = False
    skips: bool = False

    def run(self, questions: Iterable[str], live: bool) -> None:
        """Answer the questions in turn.

        Args:
            live: the models answer; in a replay they must not be asked.
        """
        asyncio.run(_Run(self, live).run(questions))


@dataclass
class _Run:
    """One run of the application."""

    plan: Herding
    live: bool
    history: list[ChatMessage] = field(default_factory=list[ChatMessage])

    async def run(self, questions: Iterable[str]) -> None:
        """Answer the questions in turn."""
        self.herder = self.agent(self.plan.name, self.plan.prompt, call("search", {"query": "hay"}), say("Hay."))
        self.checker = self.agent("checker", self.plan.checking, say("Right."))
        for number, question in enumerate(questions):
            if self.plan.skips and number == 0:
                continue
            answer = question
            for name in self.plan.steps:
                answer = await getattr(self, name)(answer) or answer

    def llm(self, *replies: Any, **settings: Any) -> ScriptedLLM:
        """Return a model with a script for each question."""
        script = [*replies, *replies] if self.live else [AssertionError("the model was called")] * 9
        return ScriptedLLM(script, **settings)

    def agent(self, name: str, prompt: str | None, *replies: Any) -> FunctionAgent:
        """Return an agent; only the herder has tools."""
        tools = [self.tool(tool) for tool in self.plan.tools] if name != "checker" else []
        settings = {"model": self.plan.model, "temperature": self.plan.temperature} if name != "checker" else {}
        llm = self.llm(*replies, **settings)
        return FunctionAgent(name=name, description="Works.", system_prompt=prompt, tools=tools, llm=llm)

    def tool(self, name: str) -> FunctionTool:
        """Return a tool with one parameter."""

        def search(query: str) -> str:
            return self.plan.finds(query)

        def look(query: str, animal: str = "") -> str:
            return self.plan.finds(query)

        function = search if self.plan.field == "query" else look
        return FunctionTool.from_defaults(fn=function, name=name, description=self.plan.description)

    async def herd(self, question: str) -> str:
        """Let the agent answer."""
        history = self.history if self.plan.keeps_history else []
        answer = await self.herder.run(question, chat_history=history[1:] if self.plan.trims else [*history])
        self.history += [ChatMessage(role="user", content=question), ChatMessage(role="assistant", content="Hay.")]
        return str(answer)

    async def check(self, answer: str) -> None:
        """Let the second agent look at the answer."""
        await self.checker.run(answer)

    async def summarise(self, answer: str) -> None:
        """Let a model without an agent summarise."""
        message = ChatMessage(role=self.plan.role, content=self.plan.summary.format(answer))
        await self.llm(say("In short.")).achat([message])

    async def greet(self, answer: str) -> None:
        """Ask a model for something that was never recorded."""
        await self.llm(say("Hello.")).achat([ChatMessage(role="user", content="Greet the user.")])

    async def work(self, answer: str) -> None:
        """Run a workflow whose steps ask a model each."""
        run = self

        class Work(Workflow):
            """Two steps."""

            @step
            async def first(self, event: StartEvent) -> Sheared | StopEvent:
                """Ask for the first time."""
                await run.ask(run.plan.work[0])
                return StopEvent() if run.plan.alone else Sheared(second=run.plan.work[1])

            @step
            async def second(self, event: Sheared) -> StopEvent:
                """Ask for the second time."""
                await run.ask(event.second)
                return StopEvent()

        await Work().run()

    async def ask(self, word: str) -> None:
        """Ask a model how to do something."""
        await self.llm(say("So.")).achat([ChatMessage(role="user", content=f"How to {word}?")])


STEPS = Herding.steps
FIRST = "step 1 (think 1 of herder): "
CHANGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "a prompt": ({"prompt": "Be long."}, 1, FIRST + "the input differs"),
    "no prompt": ({"prompt": None}, 1, FIRST + "the input differs"),
    "a second agent's prompt": ({"checking": "Doubt it."}, 4, "step 4 (think 1 of checker): the input differs"),
    "an agent's name": ({"name": "shepherd"}, 1, FIRST + "shepherd asks, recorded was herder"),
    "a tool's description": ({"description": "Look."}, 1, FIRST + "the input differs"),
    "a tool's parameters": ({"field": "animal"}, 1, FIRST + "the input differs"),
    "a further tool": ({"tools": ("search", "count", "read")}, 1, FIRST + "the input differs"),
    "a tool less": ({"tools": ("search",)}, 1, FIRST + "the input differs"),
    "the order of tools": ({"tools": ("count", "search")}, 1, FIRST + "the order of tools differs"),
    "a tool's result": ({"finds": broken}, 3, "step 3 (think 2 of herder): the input differs"),
    "the model": ({"model": "scripted-2"}, 1, FIRST + "the model differs"),
    "a parameter": ({"temperature": 0.9}, 1, FIRST + "the input differs"),
    "no history": ({"keeps_history": False}, 8, "step 8 (think 3 of herder): the input differs"),
    "a trimmed history": ({"trims": True}, 8, "step 8 (think 3 of herder): the input differs"),
    "a model's prompt": ({"summary": "Sum up: {}"}, 5, "step 5 (ScriptedLLM 1): the input differs"),
    "a role": ({"role": "system"}, 5, "step 5 (ScriptedLLM 1): the input differs"),
    "no check": ({"steps": ("herd", "summarise", "work")}, 4, "step 4 (think 1 of checker) was not asked for"),
    "no workflow": (
        {"steps": STEPS[:3]},
        6,
        "turn 4 was not asked for (step 6 (ScriptedLLM 2) to step 7 (ScriptedLLM 3))",
    ),
    "a step less in a workflow": ({"alone": True}, 7, "step 7 (ScriptedLLM 3) was not asked for"),
    "steps of a workflow in another order": (
        {"work": ("feed", "shear")},
        7,
        "step 7 (ScriptedLLM 3) was asked for before step 6 (ScriptedLLM 2)",
    ),
    "another order": (
        {"steps": ("herd", "summarise", "check", "work")},
        5,
        "step 5 (ScriptedLLM 1) was asked for before step 4 (think 1 of checker)",
    ),
    "a second check": (
        {"steps": ("herd", "check", "check", "summarise", "work")},
        4,
        "after step 4 (think 1 of checker): a further model call of checker is asked for",
    ),
    "a further call before": (
        {"steps": ("greet", *STEPS)},
        5,
        "before step 5 (ScriptedLLM 1): a further model call is asked for",
    ),
    "one question less": (
        {"skips": True},
        1,
        "turns 1 to 4 were not asked for (step 1 (think 1 of herder) to step 7 (ScriptedLLM 3))",
    ),
}
TWICE = {
    "no check",
    "no workflow",
    "a step less in a workflow",
    "steps of a workflow in another order",
    "another order",
    "a further call before",
}
"""Changes that the application makes anew in each turn."""


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    """Trace LlamaIndex."""
    langfuse_integration_llamaindex.instrument()
    yield
    langfuse_integration_llamaindex.uninstrument()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application as it was when its session was recorded."""
    path = tmp_path_factory.mktemp("sessions") / "herding.session.json"
    langfuse_integration_llamaindex.instrument()
    record(lambda: Herding().run(("What do alpacas eat?", "And llamas?"), live=True), path)
    return path


def changed(path: Path, **changes: Any) -> list[tuple[int, str]]:
    """Return the divergences of the changed application."""

    def run(session: ReplaySession) -> None:
        questions = (str(turn.text) for turn in session.turns[:: len(STEPS)])
        replace(Herding(), **changes).run(questions, live=False)

    return divergences(path, run)


@pytest.mark.parametrize("count", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_without_a_change_nothing_diverges(recording: Path, count: int) -> None:
    """The application as it was recorded goes the recorded way, in every one of its reruns."""
    for _ in range(count):
        assert changed(recording) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_at_its_step(recording: Path, change: str) -> None:
    """Each planted change is the first divergence, at its own step; it is reported once for each time it happens."""
    changes, number, text = CHANGES[change]
    noted = changed(recording, **changes)
    assert noted[0] == (number, text)
    assert len(noted) == (2 if change in TWICE else 1), noted


@pytest.mark.parametrize("edited", [{"response": "words"}, {"response": None}, {"response": {"$": "words"}}])
def test_an_answer_that_cannot_be_rebuilt_is_named(recording: Path, tmp_path: Path, edited: dict[str, Any]) -> None:
    """A file whose answer was edited into something else refuses the call, with its step."""
    values = json.loads(recording.read_text())
    answer = values["steps"][4]["answer"]
    assert edited.keys() <= answer.keys()
    answer.update(edited)
    path = tmp_path / "a.session.json"
    path.write_text(json.dumps(values))
    *_, (number, text) = changed(path, steps=("summarise",))
    assert number == 5
    assert text.startswith("step 5 (ScriptedLLM 1): the recorded answer cannot be rebuilt (")

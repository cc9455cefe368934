"""Planted changes of an application: each is one divergence at its step, and nothing else is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import StructuredTool

from langfuse_integration.errors import LangfuseIntegrationError
from langfuse_integration.testing import ReplaySession, replay
from langfuse_integration_langchain import SessionHandler
from replay.recordings import record
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain


class Tempered(ScriptedChat):
    """A scripted model with a temperature."""

    temperature: float = 0.5

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature}


def found(text: str) -> str:
    """Return what the tool finds."""
    return f"found {text}"


def broken(text: str) -> str:
    """Find nothing."""
    return "the library is closed"


@dataclass(frozen=True)
class Herding:
    """An application: an agent with a tool, one that checks its answer, and a summary; a change touches one field."""

    prompt: str = "Be short."
    checking: str = "Check the answer."
    name: str = "herder"
    tool: str = "search"
    description: str = "Search the library."
    field: str = "query"
    finds: Callable[[str], str] = found
    model: str = "scripted-1"
    temperature: float = 0.5
    keeps_history: bool = True
    steps: tuple[str, ...] = ("herd", "check", "summarise")
    summary: str = "Summarise: {}"
    stop: tuple[str, ...] | None = None
    tools: tuple[str, ...] = ("search",)
    adds_date: bool = False
    trims: bool = False

    def answer(self, questions: Iterable[str], live: bool) -> list[str]:
        """Answer the questions in turn.

        Args:
            live: the models answer; in a replay they must not be asked.
        """
        self_made = _Run(self, live)
        return [self_made.answer(question) for question in questions]


class _Run:
    """One run of the application."""

    def __init__(self, plan: Herding, live: bool) -> None:
        self.plan = plan
        self.config: Any = {"callbacks": [SessionHandler()]}
        self.history: list[Any] = []
        refusal = AssertionError("the model was called")
        script: list[Any] = [call("search", {"query": "hay"}), "Hay."] if live else [refusal]
        model = Tempered(*script, model_name=plan.model, temperature=plan.temperature)
        prompt = plan.prompt or None
        self.herder = create_agent(
            model, [_tool(plan, name) for name in plan.tools], system_prompt=prompt, name=plan.name
        )
        other = Tempered("Right." if live else refusal)
        self.checker = create_agent(other, [], system_prompt=plan.checking, name="checker")
        self.summariser = Tempered("In short." if live else refusal)

    def answer(self, question: str) -> str:
        """Answer one question, by the steps of the plan."""
        answer = ""
        for step in self.plan.steps:
            answer = getattr(self, step)(answer or question) or answer
        return answer

    def herd(self, question: str) -> str:
        """Let the agent answer."""
        history = self.history if self.plan.keeps_history else []
        if self.plan.trims:
            history = history[1:]
        messages = self.herder.invoke({"messages": [*history, ("user", question)]}, self.config)["messages"]
        self.history = messages
        return str(messages[-1].content)

    def check(self, answer: str) -> None:
        """Let the second agent look at the answer."""
        self.checker.invoke({"messages": [("user", answer)]}, self.config)

    def summarise(self, answer: str) -> None:
        """Let a model without an agent summarise."""
        options = {"stop": list(self.plan.stop)} if self.plan.stop else {}
        self.summariser.invoke(self.plan.summary.format(answer), self.config, **options)

    def greet(self, question: str) -> None:
        """Ask a model for something that was never recorded."""
        self.summariser.invoke("Greet the user.", self.config)


def _tool(plan: Herding, name: str) -> StructuredTool:
    def look(**arguments: Any) -> str:
        return plan.finds(next(iter(arguments.values()), ""))

    schema = {"type": "object", "properties": {key: {"type": "string"} for key in ("query", plan.field)}}
    return StructuredTool(name=name, description=plan.description, args_schema=schema, func=look)


QUESTIONS = ("What do alpacas eat?", "And llamas?")
CHANGES: dict[str, tuple[dict[str, Any], int, str]] = {
    "a prompt": ({"prompt": "Be long."}, 1, "step 1 (think 1 of herder): the input differs"),
    "no prompt": ({"prompt": ""}, 1, "step 1 (think 1 of herder): the input differs"),
    "a second agent's prompt": ({"checking": "Doubt it."}, 4, "step 4 (think 1 of checker): the input differs"),
    "an agent's name": ({"name": "shepherd"}, 1, "step 1 (think 1 of herder): shepherd asks, recorded was herder"),
    "a tool's description": ({"description": "Look."}, 1, "step 1 (think 1 of herder): the input differs"),
    "a tool's arguments": ({"field": "animal"}, 1, "step 1 (think 1 of herder): the input differs"),
    "a further tool": ({"tools": ("search", "read")}, 1, "step 1 (think 1 of herder): the input differs"),
    "the order of tools": ({"tools": ("read", "search")}, 1, "step 1 (think 1 of herder): the input differs"),
    "a tool's result": ({"finds": broken}, 3, "step 3 (think 2 of herder): the input differs"),
    "the model": ({"model": "scripted-2"}, 1, "step 1 (think 1 of herder): the model differs"),
    "a parameter": ({"temperature": 0.9}, 1, "step 1 (think 1 of herder): the input differs"),
    "a stop word": ({"stop": ("END",)}, 5, "step 5 (Tempered 1): the input differs"),
    "no history": ({"keeps_history": False}, 6, "step 6 (think 3 of herder): the input differs"),
    "a trimmed history": ({"trims": True}, 6, "step 6 (think 3 of herder): the input differs"),
    "a chain's prompt": ({"summary": "Sum up: {}"}, 5, "step 5 (Tempered 1): the input differs"),
    "no check": ({"steps": ("herd", "summarise")}, 4, "step 4 (think 1 of checker) was not asked for"),
    "no summary": ({"steps": ("herd", "check")}, 5, "step 5 (Tempered 1) was not asked for"),
    "a second check": (
        {"steps": ("herd", "check", "check", "summarise")},
        4,
        "after step 4 (think 1 of checker): a further model call of checker is asked for",
    ),
    "a further call before": (
        {"steps": ("greet", "herd", "check", "summarise")},
        5,
        "before step 5 (Tempered 1): a further model call is asked for",
    ),
    "another order": (
        {"steps": ("herd", "summarise", "check")},
        5,
        "step 5 (Tempered 1) was asked for before step 4 (think 1 of checker)",
    ),
}
TWICE = {"no check", "no summary", "a further call before", "another order"}
"""Changes that the application makes anew in each turn."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application as it was when its session was recorded."""
    path = tmp_path_factory.mktemp("sessions") / "herding.session.json"
    record(lambda: Herding().answer(QUESTIONS, live=True), path)
    return path


def divergences(path: Path, plan: Herding) -> list[tuple[int, str]]:
    """Return the divergences of the application, as (step, sentence)."""
    with replay(path) as session:
        try:
            plan.answer(_texts(session), live=False)
        except LangfuseIntegrationError:
            pass  # the application ends there
        noted = session.divergences
        session.allow("")
    return [(each.step, each.text) for each in session_divergences(session, noted)]


def session_divergences(session: ReplaySession, noted: list[Any]) -> list[Any]:
    """Return what was noted when the application ended, and what was missing then."""
    return noted or session.all_divergences


def _texts(session: ReplaySession) -> Iterable[str]:
    for turn in session.turns[::3]:
        yield str(turn.text)


def test_without_a_change_nothing_diverges(recording: Path) -> None:
    """The application as it was recorded goes the recorded way."""
    assert divergences(recording, Herding()) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_at_its_step(recording: Path, change: str) -> None:
    """Each planted change is the first divergence, at its own step; it is reported once for each time it happens."""
    changed, step, text = CHANGES[change]
    noted = divergences(recording, replace(Herding(), **changed))
    assert noted[0] == (step, text)
    assert len(noted) == (2 if change in TWICE else 1), noted


@pytest.mark.parametrize(
    ("order", "sentence"),
    [
        ((1, 0), "turn 2 was asked for before turn 1"),
        ((2, 0, 1), "turn 3 was asked for before turn 1"),
        ((1, 2, 0), "turn 1 was asked for after turn 3"),
        ((2, 1, 0), "turns 2 to 3 were asked for before turn 1"),
    ],
)
def test_exchanged_turns_are_one_sentence(tmp_path: Path, order: tuple[int, ...], sentence: str) -> None:
    """An application that asks in another order is told so once, not for each step."""
    plan = Herding(keeps_history=False, steps=("herd",))
    questions = [f"What do {animals} eat?" for animals in ("alpacas", "llamas", "goats")[: len(order)]]
    file = tmp_path / "a.session.json"
    record(lambda: plan.answer(questions, live=True), file)
    with replay(file) as session:
        plan.answer([questions[place] for place in order], live=False)
        session.allow(sentence)
    assert [each.text for each in session.all_divergences] == [sentence]

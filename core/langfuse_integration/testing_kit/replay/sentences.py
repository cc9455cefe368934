"""Parts of the sentences in which a divergence is told."""

from __future__ import annotations

from typing import Any

from .matching import CallPlace
from .question import Question
from .recording import RecordedStep


def named(step: RecordedStep) -> str:
    """Return a step as sentences name it: number and label."""
    return f"step {step.number} ({step.label})"


def word(question: Question, place: CallPlace) -> str:
    """Return a call as sentences name it, with its agent."""
    what = "model call" if question.kind == "model" else question.name
    return f"{what} of {place.agent}" if place.agent is not None else what


def as_recorded(value: Any, agent: str | None, recorded: str | None) -> Any:
    """Return an input with the recorded name of the agent in its messages."""
    if isinstance(value, dict):
        named = {key: as_recorded(item, agent, recorded) for key, item in value.items()}
        return {**named, "name": recorded} if "role" in named and named.get("name") == agent else named
    return [as_recorded(item, agent, recorded) for item in value] if isinstance(value, list) else value

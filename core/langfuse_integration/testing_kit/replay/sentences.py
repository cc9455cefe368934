"""Parts of the sentences in which a divergence is told."""

from __future__ import annotations

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

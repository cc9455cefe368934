"""A fork: the recording answers up to a step, and the application goes on live from there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import InvalidFork, UnfitAnswer
from .question import QuestionKind
from .recording import RecordedStep, Recording

SHOWN = 200


class ForkPoint:
    """Where a replay ends.

    Args:
        until: the number of the first live step; None after the last of *answers*, or never.
        answers: other answers by the numbers of their steps.
        steps: those of the recording.

    Attributes:
        reached: a call at or after the fork was made: all further ones are live.
    """

    def __init__(
        self,
        until: int | None = None,
        answers: Mapping[int, Any] | None = None,
        steps: Sequence[RecordedStep] = (),
    ) -> None:
        self._answers = dict(answers or {})
        self._until = until if until is not None or not self._answers else max(self._answers) + 1
        self._steps = steps
        self._before = [step for step in steps if self._until is None or step.number < self._until]
        self.reached = False

    @classmethod
    def of(cls, recording: Recording, until: int | str | None, answers: Mapping[int, Any] | None) -> ForkPoint:
        """Return the fork at a step.

        Args:
            until: the first live step: its number, or the beginning of its label.
            answers: other answers by the numbers of their steps; without *until* what follows them is live.

        Raises:
            InvalidFork: there is no such step.
            UnfitAnswer: a text cannot answer it.
        """
        numbers = {step.number for step in recording.steps}
        for number in answers or {}:
            if number not in numbers:
                raise InvalidFork(f"step {number}", [step.label for step in recording.steps])
        for step in recording.steps:
            if isinstance((answers or {}).get(step.number), str):
                _check_text(step)
        if isinstance(until, str):
            until = step_at(recording, until).number
        return cls(until, answers, recording.steps)

    @property
    def exists(self) -> bool:
        """Whether the application goes on live at some step."""
        return self._until is not None

    def at(self, step: RecordedStep) -> bool:
        """Return whether *step* is at or after the fork, which is reached then."""
        if self._until is not None and step.number >= self._until:
            self.reached = True
        return self.reached

    def is_next(self, is_used: Callable[[RecordedStep], bool]) -> bool:
        """Return whether every step before the fork has been answered."""
        if self._until is None:
            return False
        return all(is_used(step) for step in self._before)

    def answers_any(self, kind: QuestionKind) -> bool:
        """Return whether a step of *kind* gets another answer."""
        return any(step.kind == kind and step.number in self._answers for step in self._steps)

    def other_answer(self, step: RecordedStep) -> Any:
        """Return the answer that was given for *step*, or None."""
        return self._answers.get(step.number)


def _check_text(step: RecordedStep) -> None:
    """Raise UnfitAnswer for a call of an MCP server whose recorded result is structured, and no text in an envelope."""
    exchanges = (step.exact or {}).get("exchanges") if step.kind == "mcp" else None
    result = exchanges[-1].get("result") if isinstance(exchanges, list) and exchanges else None
    structured = result.get("structuredContent") if isinstance(result, dict) else None
    if isinstance(structured, dict) and not (structured.keys() == {"result"} and isinstance(structured["result"], str)):
        raise UnfitAnswer(f"step {step.number} ({step.label})", json.dumps(structured, ensure_ascii=False)[:SHOWN])


def step_at(recording: Recording, step: str) -> RecordedStep:
    """Return the step with a number, or the first one whose label begins with the text *step*.

    Raises:
        InvalidFork: there is none.
    """
    text = step.removeprefix("step ").strip()
    for recorded in recording.steps:
        if text == str(recorded.number) or re.match(re.escape(text) + r"(?!\w)", recorded.label):
            return recorded
    raise InvalidFork(step, [recorded.label for recorded in recording.steps])

"""Turns of a chat engine: a streamed one ends when its answer has been read off the model and put into the history.

A background task of LlamaIndex does that. The task and the turn meet at the response that both of them have, whichever
comes first. (A caller who reads the model himself is looked after in `streams`.)
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any

from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording.registry import Run

from . import rows
from .folding import is_a
from .places import Fold

_ENDING_UNUSED = shielded("ending a chat turn that nobody read")
ANSWERS_LIMIT = 5_000


class Answer:
    """A streamed answer.

    Attributes:
        turns: the turns that have returned it: more than one when an engine hands on another's.
        pieces: the text so far.
        ended: whether the task that reads it is done.
        error: what broke it.
    """

    __slots__ = ("ended", "error", "pieces", "turns")

    def __init__(self) -> None:
        self.turns: list[Run] = []
        self.pieces: list[str] = []
        self.ended = False
        self.error: BaseException | None = None

    def returned(self, turn: Run) -> None:
        """Keep *turn* open until the answer has ended."""
        self.turns.append(turn)
        if self.ended:
            self._settle()

    def end(self, error: BaseException | None = None) -> None:
        """End the turns with the whole answer; or with the error, and what had come until then."""
        self.error = error
        self.ended = True
        self._settle()

    def abandon(self) -> None:
        """End the turns as cancelled when nobody has the answer any more."""
        with _ENDING_UNUSED:
            for turn in self.turns:
                rows.cancel_below(turn)
                rows.cancel(turn.key)

    def _settle(self) -> None:
        text = "".join(self.pieces) or None
        for turn in self.turns:
            if self.error is not None:
                rows.cancel_below(turn)
                rows.fail(turn.key, self.error, text)
            else:
                rows.finish(turn.key, text)


_answers: dict[int, Answer] = {}
"""By the identity of the response, which takes its answer along when it is collected."""


def answer_of(response: Any) -> Answer:
    """Return what is known of a streamed answer; beyond the limit the oldest is forgotten, and ends uncompleted."""
    made = Answer()
    answer = _answers.setdefault(id(response), made)
    if answer is made:
        weakref.finalize(response, _gone, id(response), made)
        if len(_answers) > ANSWERS_LIMIT:
            _forget_oldest()
    return answer


def _gone(response_id: int, answer: Answer) -> None:
    if _answers.get(response_id) is answer:
        del _answers[response_id]
    answer.abandon()


def _forget_oldest() -> None:
    try:
        _answers.pop(next(iter(_answers)), None)
    except (RuntimeError, StopIteration):  # another thread was there
        pass


class Turn(rows.Row):
    """The state of a turn."""

    __slots__ = ()

    def exit(self, run: Run, result: Any) -> None:
        """End the turn, or wait for the task that reads the streamed answer."""
        if is_a(result, "StreamingAgentChatResponse"):
            answer_of(result).returned(run)
        else:
            super().exit(run, result)


class Writer(Fold):
    """The task that reads a streamed answer and puts it into the history."""

    __slots__ = ("answer",)

    def __init__(self, run: Run | None, key: Hashable | None, response: Any) -> None:
        super().__init__(run, key)
        self.answer = answer_of(response)

    def exit(self, result: Any) -> None:
        """End the turn with the whole answer."""
        self.answer.end()

    def drop(self, error: BaseException) -> None:
        """End the turn with the error, and what had come until then."""
        self.answer.end(error)

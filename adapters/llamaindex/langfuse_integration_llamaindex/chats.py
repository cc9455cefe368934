"""Turns of a chat engine: a streamed one ends when its answer has been read off the model and put into the history.

A background task of LlamaIndex reads it. Task and turn find each other by the response object that both of them hold,
whichever comes first. (`streams` is for callers who read the model's stream themselves.)
"""

from __future__ import annotations

import weakref
from typing import Any

from langfuse_integration.internals import forks
from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording.registry import Run

from . import rows
from .folding import is_a
from .places import Fold, SpanPlace

_ENDING_UNUSED = shielded("ending a chat turn that nobody read")
ANSWERS_LIMIT = 5_000
_lock = forks.Lock()


class StreamedAnswer:
    """A streamed answer.

    Attributes:
        turns: the turns that returned it: more than one when an engine returns another engine's answer.
        pieces: the text so far.
        ended: whether the task that reads it is done.
        error: the error that ended the task, or None.
    """

    __slots__ = ("ended", "error", "pieces", "turns")

    def __init__(self) -> None:
        self.turns: list[Run] = []
        self.pieces: list[str] = []
        self.ended = False
        self.error: BaseException | None = None

    def returned(self, turn: Run) -> None:
        """Keep *turn* open until the answer ends."""
        self.turns.append(turn)
        if self.ended:
            self._settle()

    def end(self, error: BaseException | None = None) -> None:
        """End the turns with the whole answer, or with the error and the part that was read."""
        self.error = error
        self.ended = True
        self._settle()

    def abandon(self) -> None:
        """End the turns as cancelled: nobody holds the answer any more."""
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


_answers: BoundedDict[int, StreamedAnswer] = BoundedDict(ANSWERS_LIMIT)
"""By the identity of the response; an entry is removed when its response is collected."""


def answer_of(response: Any) -> StreamedAnswer:
    """Return the state of a streamed answer, made at the first call for this response."""
    with _lock:
        answer = _answers.get(id(response))
        if answer is None:
            _answers[id(response)] = answer = StreamedAnswer()
            weakref.finalize(response, _gone, id(response), answer)
    return answer


def _gone(response_id: int, answer: StreamedAnswer) -> None:
    if _answers.get(response_id) is answer:
        del _answers[response_id]
    answer.abandon()


class ChatTurn(rows.RowState):
    """The state of a turn."""

    __slots__ = ()

    def exit(self, run: Run, result: Any) -> None:
        """End the turn, or wait for the task that reads the streamed answer."""
        if is_a(result, "StreamingAgentChatResponse"):
            answer_of(result).returned(run)
        else:
            super().exit(run, result)


class HistoryWriter(Fold):
    """The task that reads a streamed answer and adds it to the history."""

    def __init__(self, place: SpanPlace, response: Any) -> None:
        self.run, self.key = place.run, place.key
        self.answer = answer_of(response)

    def exit(self, result: Any) -> None:
        """End the turn with the whole answer."""
        self.answer.end()

    def drop(self, error: BaseException) -> None:
        """End the turn with the error and the part that was read."""
        self.answer.end(error)

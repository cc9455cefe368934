"""Exact forms of a model's answers: one response, or the pieces of a stream, and the error that ended it.

{"response": form}                      of `chat`, `complete` and their async twins
{"pieces": [delta, ...]}                of a stream, with its boundaries
{"error": form}                         alone, or after the pieces that came before it
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langfuse_integration.encoding import object_form
from langfuse_integration.recording.noted import as_it_was
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.snapshot import snapshot
from langfuse_integration.settings import settings

from . import deltas
from .messages import LlmAnswer

FORM = "llamaindex.answer"


class StreamPiece(NamedTuple):
    """A piece of a stream, with the parts of its message that later pieces change in place.

    Attributes:
        response: the piece itself.
        blocks: the fields of each content block, or None.
        extra: the message's `additional_kwargs`, or None when they are empty.
        raw: the provider's own piece, or None: the one in *response* does not change.
    """

    response: Any
    blocks: list[dict[str, Any]] | None
    extra: dict[str, Any] | None
    raw: Any


def piece_of(response: Any) -> StreamPiece:
    """Return a note of *response*, on the application's thread.

    Anthropic's integration of LlamaIndex adds to the text of one block, OpenAI's to the arguments of one tool call.
    """
    message = getattr(response, "message", None)
    if message is None:
        return StreamPiece(response, None, None, None)
    blocks = [snapshot(block.__dict__) for block in message.blocks]
    extra = message.additional_kwargs
    if not extra:
        return StreamPiece(response, blocks, None, None)
    return StreamPiece(response, blocks, copy.deepcopy(extra), copy.deepcopy(response.raw))


class AnswerNote:
    """What the exact form of a model call is made of, noted on the application's thread.

    Attributes:
        seam: the id of the span that a replay answers: the outermost one of a model that answers itself, or None.
        asked: the model and the parameters that were asked for.
        response: the response of that call, or the last piece of its stream.
        pieces: the pieces of its stream.
        error: the exact form of the error that ended it, or None.
    """

    __slots__ = ("asked", "error", "pieces", "response", "seam")

    def __init__(self) -> None:
        self.seam: str | None = None
        self.asked: dict[str, Any] | None = None
        self.response: Any = None
        self.pieces: list[StreamPiece] = []
        self.error: dict[str, Any] | None = None

    def start(self, span_id: str, model: Any, observation: Observation) -> None:
        """Note a span in which *model* is asked; the row tells how."""
        if self.seam is None and answers_itself(type(model)):
            self.seam = span_id
        self.asked = {"model": observation.model, "parameters": observation.model_parameters}

    def exact(self, output: Any, *, streamed: bool) -> ExactAnswer | None:
        """Return the exact form, or None: no event told of the call.

        Args:
            output: of the row, which mostly notes the same response.
            streamed: the call returned a stream, of which there may be no piece.
        """
        if self.seam is None:
            return None
        is_noted = isinstance(output, LlmAnswer) and output.response is self.response
        response = output.noted if is_noted else LlmAnswer(self.response).noted
        return ExactAnswer(response, self.pieces if streamed or self.pieces else None, self.error, self.asked)


def answers_itself(kind: type) -> bool:
    """Return whether models of a class answer themselves: a structured one has another model inside."""
    return not any(base.__name__ == "StructuredLLM" for base in kind.__mro__)


class ExactAnswer:
    """The exact form of a model call, built on the worker.

    Args:
        response: the answer, or the last piece of a stream, also as it was noted; None when the call failed.
        pieces: the pieces of a stream, or None when the call was not streamed.
        error: the exact form of what ended the call, or None.
        asked: the model and the parameters that were asked for.
    """

    __slots__ = ("_asked", "_error", "_pieces", "_response")

    def __init__(
        self,
        response: Any,
        pieces: Sequence[StreamPiece] | None = None,
        error: dict[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        self._asked = asked
        self._response = response
        self._pieces = pieces
        self._error = error

    def __call__(self) -> dict[str, Any]:
        """Return the form."""
        form: dict[str, Any] = {"form": FORM}
        if self._pieces is not None:
            form["pieces"] = deltas.deltas_of(map(_form_of_piece, _maskable(self._pieces)))
        elif self._response is not None and self._error is None:
            form["response"] = object_form.form_of(as_it_was(self._response))
        if self._error is not None:
            form["error"] = self._error
        if self._asked is not None:
            form["asked"] = self._asked
        return form


def response_of(form: dict[str, Any]) -> Any:
    """Return the response of a call that was not streamed; of one that was streamed, its last piece.

    Raises:
        ValueError: this is no form of an answer.
    """
    if form.get("response") is not None:
        return object_form.rebuilt(form["response"])
    pieces = pieces_of(form)
    if not pieces:
        raise ValueError("The recorded answer is empty.")
    return pieces[-1]


def pieces_of(form: dict[str, Any]) -> list[Any]:
    """Return the pieces of a stream; of a call that was not streamed, one with all of it.

    Raises:
        ValueError: this is no form of an answer.
    """
    if form.get("pieces") is not None:
        return [object_form.rebuilt(piece) for piece in deltas.series_of(form["pieces"])]
    if form.get("response") is None:
        return []
    response = object_form.rebuilt(form["response"])
    message = getattr(response, "message", None)
    response.delta = (message.content if message is not None else response.text) or ""
    return [response]


def _maskable(pieces: Sequence[StreamPiece]) -> Sequence[StreamPiece]:
    """Return the pieces, or where a mask is set, one with all of the text: no part of a secret looks like one."""
    if settings().mask is None or len(pieces) < 2:
        return pieces
    last = pieces[-1]
    delta = "".join(piece.response.delta or "" for piece in pieces)
    return [last._replace(response=last.response.model_copy(update={"delta": delta}))]


def _form_of_piece(piece: StreamPiece) -> Any:
    response = piece.response
    if piece.blocks is None:
        return object_form.form_of(response)
    message = response.message
    blocks = [
        object_form.form_of_fields(type(block), fields, block)
        if hasattr(block, "model_fields_set")
        else object_form.form_of(block)
        for block, fields in zip(message.blocks, piece.blocks, strict=False)
    ]
    fields = {**response.__dict__, "message": None}
    if piece.extra is not None:
        fields["raw"] = piece.raw
    form = object_form.form_of_fields(type(response), fields, response)
    extra = {"additional_kwargs": piece.extra or {}}
    form["fields"]["message"] = object_form.form_of_fields(
        type(message), {**message.__dict__, **extra, "blocks": []}, message
    )
    form["fields"]["message"]["fields"]["blocks"] = blocks
    return form

"""LlamaIndex's seam for replays: models answer from the recording, below the decorators of their methods.

Spans, events, callbacks, agents and structured answers run as they always do. A method without LlamaIndex's decorator
sends no events, so that nothing of it was recorded: it is not replaced.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index_instrumentation import DispatcherSpanMixin

from langfuse_integration.encoding import object_form
from langfuse_integration.internals import forks
from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import answers, private
from .events import model_call_of
from .handler import instrument, instrumented, uninstrument
from .replay_local import ToolsRetrieversEmbeddings


@contextmanager
def answering(session: ReplaySession) -> Generator[None]:
    """Answer the models of this process from *session* within the block.

    Raises:
        SeamMoved: this release of llama-index-core does not have what is replaced.
    """
    private.require_model_seam()
    was_on = instrumented()
    instrument()
    seam, others = _LlmSeam(session), ToolsRetrieversEmbeddings(session)
    try:
        seam.install()
        others.install()
        yield
    finally:
        others.remove()
        seam.remove()
        if not was_on:
            uninstrument()


class _LlmSeam:
    """The replaced functions, and how each asks the recording."""

    def __init__(self, session: ReplaySession) -> None:
        self._session = session
        self._patches = Patches()
        self._cells: list[tuple[Any, Any]] = []
        self._lock = forks.Lock()

    def install(self) -> None:
        """Replace the functions in all model classes, also in those that are still to be defined."""
        self._patches.wrap(DispatcherSpanMixin, "__init_subclass__", self._defining)
        for kind in _subclasses(BaseLLM):
            self._replace(kind)

    def remove(self) -> None:
        """Put the functions back."""
        self._patches.undo()
        with self._lock:
            while self._cells:
                cell, original = self._cells.pop()
                cell.cell_contents = original

    def _defining(self, original: Any) -> Any:
        def __init_subclass__(cls: type[Any], /, **options: Any) -> None:
            original.__func__(cls, **options)
            if issubclass(cls, BaseLLM):
                self._replace(cls)

        return classmethod(__init_subclass__)

    def _replace(self, kind: type[Any]) -> None:
        if not answers.answers_itself(kind):
            return
        with self._lock:
            for name, cell in private.model_cells(kind):
                if any(cell is replaced for replaced, _ in self._cells):
                    continue
                original = cell.cell_contents
                self._cells.append((cell, original))
                make = self._async if inspect.iscoroutinefunction(original) else self._sync
                cell.cell_contents = make(original, streamed="stream" in name, chat="chat" in name)

    def _ask(self, model: Any) -> dict[str, Any] | None:
        """Return the recorded answer of the call whose span is active; None for a call that goes on live."""
        run = model_call_of(private.active_span_id.get())
        if run is None:
            return self._session.answer(Question("model", type(model).__name__, None))
        note = run.state.note
        asked = note.asked if note is not None else None
        settings = {**asked, "parameters": dict(asked["parameters"])} if asked is not None else None
        return self._session.answer(Question("model", type(model).__name__, run.observation, settings=settings))

    def _response(self, form: dict[str, Any], *, chat: bool) -> Any:
        with rebuilding(self._session, form):
            if "replaced" in form:
                return _other(form["replaced"], chat=chat)
            error = self._session.error(form) if "error" in form else None
            response = answers.response_of(form) if error is None else None
            if error is None and not isinstance(response, (ChatResponse, CompletionResponse)):
                raise ValueError("it is no response")
        if error is not None:
            raise error
        return response

    def _pieces(self, form: dict[str, Any], *, chat: bool) -> Iterator[Any]:
        with rebuilding(self._session, form):
            other = _other(form["replaced"], chat=chat) if "replaced" in form else None
            error = self._session.error(form) if other is None and "error" in form else None
            pieces = [*answers.pieces_of(form)] if other is None else [other]
        yield from pieces
        if error is not None:
            raise error

    def _sync(self, original: Callable[..., Any], *, streamed: bool, chat: bool) -> Callable[..., Any]:
        def read(form: dict[str, Any]) -> Generator[Any]:
            yield from self._pieces(form, chat=chat)

        def answer(model: Any, *positional: Any, **named: Any) -> Any:
            form = self._ask(model)
            if form is None:
                return original(model, *positional, **named)
            return read(form) if streamed else self._response(form, chat=chat)

        return answer

    def _async(self, original: Callable[..., Any], *, streamed: bool, chat: bool) -> Callable[..., Any]:
        async def read(form: dict[str, Any]) -> AsyncGenerator[Any, None]:
            for piece in self._pieces(form, chat=chat):
                yield piece

        async def answer(model: Any, *positional: Any, **named: Any) -> Any:
            form = self._ask(model)
            if form is None:
                return await original(model, *positional, **named)
            return read(form) if streamed else self._response(form, chat=chat)

        return answer


def _other(value: Any, *, chat: bool) -> Any:
    """Return the answer that a fork puts in the place of the recorded one: a text, or an exact form."""
    if not isinstance(value, str):
        return object_form.rebuilt(value)
    if chat:
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=value), delta=value)
    return CompletionResponse(text=value, delta=value)


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)

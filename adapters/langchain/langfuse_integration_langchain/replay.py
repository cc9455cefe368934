"""LangChain's seam for replays: models answer from the recording, below their callbacks.

Chat models are answered in `_generate_with_cache` and `_stream`, text models in `_generate` and `_stream`, so that
handlers of any kind, agents, graphs and parsers run as they always do. For decision models see replay_decisions.py.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult

from langfuse_integration.recording import tracing
from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import exact, hook, private
from .replay_decisions import DecisionModels
from .replay_local import ToolsAndRetrievers
from .states import ModelState

Form = Mapping[str, Any]
M = TypeVar("M")
_prompts: ContextVar[list[UUID] | None] = ContextVar("langfuse_integration_replayed_prompts", default=None)
"""The run ids of the prompts that a text model is called with."""


@contextmanager
def answering(session: ReplaySession) -> Generator[None]:
    """Answer the models of this process from *session* within the block.

    Raises:
        SeamMoved: this release of langchain-core does not have what is replaced.
    """
    private.require_model_seams()
    instrumented = hook.instrumented()
    hook.instrument()
    seam = _ChatAndTextModels(session)
    try:
        seam.install()
        DecisionModels(session, seam.patches).install()
        ToolsAndRetrievers(session, seam.patches).install()
        yield
    finally:
        seam.patches.undo()
        if not instrumented:
            hook.uninstrument()


class _ChatAndTextModels:
    """The replaced methods, and how each asks the recording."""

    def __init__(self, session: ReplaySession) -> None:
        self.patches = Patches()
        self._session = session
        self._classes: set[type[Any]] = set()

    def install(self) -> None:
        """Replace the methods in all model classes; classes defined later are found when they are used."""
        for root in (BaseChatModel, BaseLLM):
            for name in ("stream", "astream"):
                self.patches.wrap(root, name, self._noticing)
        self.patches.wrap(BaseChatModel, "_generate_with_cache", self._generate_with_cache)
        self.patches.wrap(BaseChatModel, "_agenerate_with_cache", self._agenerate_with_cache)
        for name in ("_generate_helper", "_agenerate_helper"):
            self.patches.wrap(BaseLLM, name, self._helper)
        for kind in (*_subclasses(BaseChatModel), *_subclasses(BaseLLM)):
            self._notice(kind)

    # -- classes

    def _notice(self, kind: type[Any]) -> None:
        """Replace the methods that a class and its bases define themselves."""
        if kind in self._classes:
            return
        self._classes.add(kind)
        for base in kind.__mro__:
            if base in (BaseChatModel, BaseLLM) or not issubclass(base, (BaseChatModel, BaseLLM)):
                continue
            self.patches.wrap(base, "_stream", self._stream)
            self.patches.wrap(base, "_astream", self._astream)
            if issubclass(base, BaseChatModel):
                self.patches.wrap(base, "_generate_with_cache", self._generate_with_cache)
                self.patches.wrap(base, "_agenerate_with_cache", self._agenerate_with_cache)
            else:
                self.patches.wrap(base, "_generate", self._generate_texts)
                self.patches.wrap(base, "_agenerate", self._agenerate_texts)

    def _noticing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def stream(model: Any, *positional: Any, **named: Any) -> Any:
            self._notice(type(model))
            return original(model, *positional, **named)

        return stream

    # -- asking

    def _ask(self, model: Any, run_id: UUID | None) -> Form | None:
        """Return the recorded answer for the run of a model; None for a call that goes on live."""
        run = tracing.registry.get(run_id.int) if run_id is not None else None
        observation = run.observation if run is not None and not run.folded else None
        state = run.state if run is not None else None
        asked = state.call.asked if isinstance(state, ModelState) else None
        return self._session.answer(Question("model", type(model).__name__, observation, settings=asked))

    def _raise(self, form: Form) -> None:
        if "error" in form and "replaced" not in form:
            raise self._made(form, self._session.error)

    def _made(self, form: Form, make: Callable[[Form], M]) -> M:
        with rebuilding(self._session, form):
            return make(form)

    # -- chat models

    def _generate_with_cache(self, original: Callable[..., ChatResult]) -> Callable[..., ChatResult]:
        @functools.wraps(original)
        def generate(model: Any, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
            self._notice(type(model))
            form = None
            if not private.streams_events(model, run_manager, options, async_api=False):
                form = self._ask(model, getattr(run_manager, "run_id", None))
            if form is None:
                return original(model, messages, stop=stop, run_manager=run_manager, **options)
            if run_manager is not None and private.streams_tokens(model, run_manager, options, async_api=False):
                for chunk in self._made(form, _chunks):
                    run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)
            self._raise(form)
            return self._made(form, _chat_result)

        return generate

    def _agenerate_with_cache(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def generate(model: Any, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> Any:
            self._notice(type(model))
            form = None
            if not private.streams_events(model, run_manager, options, async_api=True):
                form = self._ask(model, getattr(run_manager, "run_id", None))
            if form is None:
                return await original(model, messages, stop=stop, run_manager=run_manager, **options)
            if run_manager is not None and private.streams_tokens(model, run_manager, options, async_api=True):
                for chunk in self._made(form, _chunks):
                    await run_manager.on_llm_new_token(chunk.message.content, chunk=chunk)
            self._raise(form)
            return self._made(form, _chat_result)

        return generate

    # -- streams

    def _stream(self, original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        @functools.wraps(original)
        def stream(model: Any, *positional: Any, **named: Any) -> Iterator[Any]:
            form = self._ask(model, private.run_id_around())
            if form is None:
                yield from original(model, *positional, **named)
                return
            for chunk in self._made(form, _chunks):
                _told_text(named, chunk)
                yield chunk
            self._raise(form)

        return stream

    def _astream(self, original: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        @functools.wraps(original)
        async def stream(model: Any, *positional: Any, **named: Any) -> AsyncIterator[Any]:
            form = self._ask(model, private.run_id_around())
            if form is None:
                async for chunk in original(model, *positional, **named):
                    yield chunk
                return
            for chunk in self._made(form, _chunks):
                told = _told_text(named, chunk)
                if told is not None:
                    await told
                yield chunk
            self._raise(form)

        return stream

    # -- text models

    def _helper(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def helper(model: Any, prompts: Any, stop: Any, run_managers: Any, *positional: Any, **named: Any) -> Any:
            self._notice(type(model))
            _prompts.set([manager.run_id for manager in run_managers])
            return original(model, prompts, stop, run_managers, *positional, **named)

        return helper

    def _generate_texts(self, original: Callable[..., LLMResult]) -> Callable[..., LLMResult]:
        @functools.wraps(original)
        def generate(model: Any, prompts: list[str], *positional: Any, **named: Any) -> Any:
            forms = self._text_forms(model, prompts)
            return original(model, prompts, *positional, **named) if forms is None else self._texts(forms)

        return generate

    def _agenerate_texts(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def generate(model: Any, prompts: list[str], *positional: Any, **named: Any) -> Any:
            forms = self._text_forms(model, prompts)
            return await original(model, prompts, *positional, **named) if forms is None else self._texts(forms)

        return generate

    def _text_forms(self, model: Any, prompts: list[str]) -> list[Form] | None:
        run_ids = _prompts.get()
        _prompts.set(None)
        if run_ids is None:  # called by a base's own method, which has asked already
            run_ids = [run_id] if (run_id := private.run_id_around()) is not None else []
        forms = [self._ask(model, run_id) for run_id in run_ids]
        answered = [form for form in forms if form is not None]
        return answered if answered and len(answered) == len(prompts) else None

    def _texts(self, forms: list[Form]) -> LLMResult:
        for form in forms:
            self._raise(form)
        generations: list[Any] = [self._made(form, _generations) for form in forms]
        return LLMResult(generations=generations, llm_output=exact.llm_output_of(forms[0]))


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _told_text(named: Mapping[str, Any], chunk: Any) -> Any:
    """Call the run manager that a text model's stream gets, and has to call itself; return an awaitable or None."""
    run_manager = named.get("run_manager")
    if run_manager is None or isinstance(chunk, ChatGeneration):
        return None
    return run_manager.on_llm_new_token(chunk.text, chunk=chunk)


def _chat_result(form: Form) -> ChatResult:
    generations: list[Any] = []
    for generation in _generations(form):
        message = generation.message
        if isinstance(message, AIMessageChunk):
            message = message_chunk_to_message(message)
        generations.append(ChatGeneration(message=message, generation_info=generation.generation_info))
    if not generations:
        raise ValueError("there is no message in it")
    return ChatResult(generations=generations, llm_output=exact.llm_output_of(form))


def _generations(form: Form) -> list[Any]:
    return exact.generations_of(_replaced(form))


def _chunks(form: Form) -> list[Any]:
    return exact.chunks_of(_replaced(form))


def _replaced(form: Form) -> Form:
    """Return a form with the answer that a fork puts in the place of the recorded one."""
    other = form.get("replaced")
    if other is None:
        return form
    fields = {"content": other} if isinstance(other, str) else dict(other)
    if form.get("form") == exact.TEXT:
        return {"form": exact.TEXT, "generations": [{"text": fields.get("content", "")}]}
    return {"form": exact.CHAT, "generations": [{"type": "ai", "content": "", **fields}]}

"""LangChain's seam for tools and retrievers that answer from the recording, below their callbacks.

Tools are answered in `_run` and `_arun`, retrievers in `_get_relevant_documents` and its async twin. Arguments are
validated, and results are made into messages, as always. Embedding models have no callbacks, so nothing of them is
recorded: the retriever that asks one is answered in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool

from langfuse_integration.errors import NotRecorded
from langfuse_integration.recording import tracing
from langfuse_integration.recording.registry import Run
from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question, QuestionKind
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import private, results
from .states import RetrieverState, ToolState

Form = Mapping[str, Any]


class ToolsAndRetrievers:
    """The replaced methods, and how each asks the recording.

    Args:
        session: answers the calls.
        patches: keeps the replaced methods.
    """

    def __init__(self, session: ReplaySession, patches: Patches) -> None:
        self._session = session
        self._patches = patches

    def install(self) -> None:
        """Replace the methods in all classes; classes defined later are found when they are used.

        Raises:
            SeamMoved: this release of langchain-core does not have what is replaced.
        """
        if not (self._session.goes_live("tool") and self._session.goes_live("retriever")):
            private.require_tool_seams()
        if not self._session.goes_live("tool"):
            for name in ("run", "arun"):
                self._patches.wrap(BaseTool, name, self._noticing(self._notice_tool))
            self._patches.wrap(BaseTool, "_to_args_and_kwargs", self._arguments)
            for kind in _with_subclasses(BaseTool):
                self._notice_tool(kind)
        if not self._session.goes_live("retriever"):
            for name in ("invoke", "ainvoke"):
                self._patches.wrap(BaseRetriever, name, self._noticing(self._notice_retriever))
            for kind in _with_subclasses(BaseRetriever):
                self._notice_retriever(kind)

    # -- classes

    def _notice_tool(self, kind: type[Any]) -> None:
        for base in kind.__mro__:
            if base is BaseTool or not issubclass(base, BaseTool):
                continue
            self._patches.wrap(base, "_run", self._run)
            self._patches.wrap(base, "_arun", self._arun)
        self._patches.wrap(BaseTool, "_arun", self._arun)

    def _notice_retriever(self, kind: type[Any]) -> None:
        for base in kind.__mro__:
            if issubclass(base, BaseRetriever):
                self._patches.wrap(base, "_get_relevant_documents", self._retrieve)
                self._patches.wrap(base, "_aget_relevant_documents", self._aretrieve)

    def _noticing(self, notice: Callable[[type[Any]], None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(original)
            def called(owner: Any, *positional: Any, **named: Any) -> Any:
                notice(type(owner))
                return original(owner, *positional, **named)

            return called

        return make

    # -- asking

    def _ask(self, run: Run | None) -> Form | None:
        """Return the recorded answer of a run; None for a call that goes on live, or that no callback told of."""
        if run is None or run.folded:
            return None
        kind: QuestionKind = "retriever" if isinstance(run.state, RetrieverState) else "tool"
        form = self._session.answer(Question(kind, run.state.name, run.observation))
        if form is not None and "replaced" not in form:
            with rebuilding(self._session, form):
                error = self._session.error(form) if "error" in form else None
                interrupt = results.interrupt_of(form) if "interrupt" in form else None
            if error is not None:
                raise error
            if interrupt is not None:
                private.interrupt_again(interrupt)
        return form

    # -- tools

    def _arguments(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return `_to_args_and_kwargs`: a call whose arguments are refused takes its step as well."""

        @functools.wraps(original)
        def arguments(tool: Any, *positional: Any, **named: Any) -> Any:
            try:
                return original(tool, *positional, **named)
            except Exception:
                run = _run_of(private.run_id_around(), ToolState)
                if run is not None and not run.folded:
                    try:
                        self._session.answer(Question("tool", run.state.name, run.observation))
                    except NotRecorded:
                        pass  # it is noted; the tool fails as it does live
                raise

        return arguments

    def _run(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(tool: Any, *positional: Any, **named: Any) -> Any:
            current = _run_of(private.current_run_key(), ToolState)
            form = self._ask(current)
            return original(tool, *positional, **named) if form is None else self._result(form, tool, current)

        return run

    def _arun(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def run(tool: Any, *positional: Any, **named: Any) -> Any:
            current = _run_of(private.current_run_key(), ToolState)
            form = self._ask(current)
            return await original(tool, *positional, **named) if form is None else self._result(form, tool, current)

        return run

    def _result(self, form: Form, tool: Any, run: Run | None) -> Any:
        call_id = run.state.call_id if run is not None else None
        with rebuilding(self._session, form):
            return results.tool_result(form, call_id, has_artifact=tool.response_format == "content_and_artifact")

    # -- retrievers

    def _documents(self, form: Form) -> Any:
        with rebuilding(self._session, form):
            return results.documents(form)

    def _retrieve(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def retrieve(retriever: Any, query: Any, **named: Any) -> Any:
            form = self._ask(_retrieval(named))
            return original(retriever, query, **named) if form is None else self._documents(form)

        return retrieve

    def _aretrieve(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def retrieve(retriever: Any, query: Any, **named: Any) -> Any:
            form = self._ask(_retrieval(named))
            return await original(retriever, query, **named) if form is None else self._documents(form)

        return retrieve


def _run_of(key: UUID | int | None, kind: type[Any]) -> Run | None:
    """Return the open run with this id if its state is of *kind*."""
    run: Run | None = tracing.registry.get(key.int if isinstance(key, UUID) else key) if key is not None else None
    return run if run is not None and isinstance(run.state, kind) else None


def _retrieval(named: Mapping[str, Any]) -> Run | None:
    run_id = getattr(named.get("run_manager"), "run_id", None) or private.run_id_around()
    return _run_of(run_id, RetrieverState)


def _with_subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)

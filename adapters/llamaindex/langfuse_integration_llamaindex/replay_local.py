"""LlamaIndex's seam for tools, retrievers and embedding models that answer from the recording, below their spans.

Tools are answered inside of the spans of `call` and `acall`, retrievers in `_retrieve`, embedding models in the private
methods that ask the model, and their async twins. A tool of LlamaIndex itself, such as the one that hands over to
another agent, runs as always.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.tools.types import BaseTool
from llama_index_instrumentation import DispatcherSpanMixin

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.tracing import registry
from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question, QuestionKind
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import private, results
from .places import folds
from .rows import RowState
from .tool_spans import ToolOfAct, ToolRun
from .tools import name_of

TOOL_METHODS = ("__call__", "call", "acall")
RETRIEVER_METHODS = ("_retrieve", "_aretrieve")
EMBEDDING_METHODS = tuple(
    f"{prefix}get_{name}"
    for prefix in ("_", "_a")
    for name in ("query_embedding", "text_embedding", "text_embeddings", "image_embedding", "image_embeddings")
)
FAMILIES: dict[QuestionKind, tuple[type, tuple[str, ...]]] = {
    "tool": (BaseTool, TOOL_METHODS),
    "retriever": (BaseRetriever, RETRIEVER_METHODS),
    "embedding": (BaseEmbedding, EMBEDDING_METHODS),
}
VECTORS_LIMIT = 1_000
M = TypeVar("M")


class RecordedNodes(list[Any]):
    """Nodes from the recording, which hold what their references lead to already."""


class ToolsRetrieversEmbeddings:
    """The replaced methods, and how each asks the recording."""

    def __init__(self, session: ReplaySession) -> None:
        self._session = session
        self._patches = Patches()
        self._spanned: list[tuple[Any, Any]] = []
        self._vectors: BoundedDict[Hashable, dict[str, Any]] = BoundedDict(VECTORS_LIMIT)

    def install(self) -> None:
        """Replace the methods in all classes, also in those that are still to be defined."""
        families: list[QuestionKind] = [kind for kind in FAMILIES if not self._session.goes_live(kind)]
        if not families:
            return
        private.require_retrieval_seam(BaseRetriever)
        self._patches.wrap(DispatcherSpanMixin, "__init_subclass__", functools.partial(self._defining, families))
        self._patches.wrap(BaseRetriever, "_handle_recursive_retrieval", self._followed)
        self._patches.wrap(BaseRetriever, "_ahandle_recursive_retrieval", self._afollowed)
        for family in families:
            for kind in _with_subclasses(FAMILIES[family][0]):
                self._replace(family, kind)

    def remove(self) -> None:
        """Put the methods back."""
        self._patches.undo()
        while self._spanned:
            wrapper, original = self._spanned.pop()
            wrapper.__wrapped__ = original

    # -- classes

    def _defining(self, families: list[QuestionKind], original: Any) -> Any:
        def __init_subclass__(cls: type[Any], /, **options: Any) -> None:
            original.__func__(cls, **options)
            for family in families:
                if issubclass(cls, FAMILIES[family][0]):
                    self._replace(family, cls)

        return classmethod(__init_subclass__)

    def _replace(self, family: QuestionKind, kind: type[Any]) -> None:
        for name in FAMILIES[family][1]:
            method = vars(kind).get(name)
            if method is None or getattr(method, "__isabstractmethod__", False):
                continue
            if family == "tool" and private.has_span(method):
                if not any(method is wrapper for wrapper, _ in self._spanned):
                    self._spanned.append((method, method.__wrapped__))
                    method.__wrapped__ = self._answering(family, method.__wrapped__)
            elif family != "tool":
                self._patches.wrap(kind, name, functools.partial(self._answering, family))

    def _answering(self, family: QuestionKind, original: Callable[..., Any]) -> Callable[..., Any]:
        answer = {"tool": self._tool, "retriever": self._nodes, "embedding": self._embeddings}[family]

        @functools.wraps(original)
        def call(owner: Any, *positional: Any, **named: Any) -> Any:
            found = answer(owner, positional, named)
            return original.__get__(owner)(*positional, **named) if found is None else found[0]

        @functools.wraps(original)
        async def acall(owner: Any, *positional: Any, **named: Any) -> Any:
            found = answer(owner, positional, named)
            return await original.__get__(owner)(*positional, **named) if found is None else found[0]

        return acall if inspect.iscoroutinefunction(original) else call

    # -- asking

    def _ask(self, kind: QuestionKind, run: Run, name: str) -> dict[str, Any] | None:
        form = self._session.answer(Question(kind, name, run.observation))
        if form is not None and "error" in form and "replaced" not in form:
            raise self._made(form, self._session.error)
        return form

    def _made(self, form: dict[str, Any], make: Callable[[dict[str, Any]], M]) -> M:
        with rebuilding(self._session, form):
            return make(form)

    def _tool(self, tool: Any, positional: Any, named: Any) -> tuple[Any] | None:
        span = private.active_span_id.get()
        fold = folds.get(span) if span is not None else None
        if isinstance(fold, ToolOfAct):
            run = fold.run
        else:
            run = registry.get(span) if fold is None else None
            run = run if run is not None and isinstance(run.state, ToolRun) else None
        if run is None or results.is_plumbing(tool):
            return None
        form = self._ask("tool", run, name_of(tool))
        return None if form is None else (self._made(form, lambda form: results.output_of(form, tool)),)

    def _nodes(self, retriever: Any, positional: Any, named: Any) -> tuple[Any] | None:
        run = _row_here("retriever")
        form = self._ask("retriever", run, run.observation.name) if run is not None else None
        return None if form is None else (RecordedNodes(self._made(form, results.nodes_of)),)

    def _embeddings(self, model: Any, positional: Any, named: Any) -> tuple[Any] | None:
        """Return the vectors of one call of the model: a batch asks it more than once for one row."""
        run = _row_here("embedding")
        if run is None:
            return None
        vectors = self._vectors.get(run.key)
        if vectors is None:
            form = self._ask("embedding", run, run.observation.name)
            if form is None:
                return None
            texts = run.observation.input
            listed = texts if isinstance(texts, list) else [texts]
            vectors = dict(zip(map(str, listed), self._made(form, results.vectors_of), strict=False))
            self._vectors[run.key] = vectors
        asked = positional[0] if positional else next(iter(named.values()))
        try:
            return ([vectors[str(text)] for text in asked],) if isinstance(asked, list) else (vectors[str(asked)],)
        except KeyError:
            raise self._session.unanswered("the recorded vectors are not those of these texts") from None

    # -- what follows a retrieval

    def _followed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def follow(retriever: Any, query_bundle: Any, nodes: Any) -> Any:
            return list(nodes) if isinstance(nodes, RecordedNodes) else original(retriever, query_bundle, nodes)

        return follow

    def _afollowed(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def follow(retriever: Any, query_bundle: Any, nodes: Any) -> Any:
            return list(nodes) if isinstance(nodes, RecordedNodes) else await original(retriever, query_bundle, nodes)

        return follow


def _row_here(kind: QuestionKind) -> Run | None:
    """Return the open row of this kind whose span, or a span folded into it, is active."""
    span = private.active_span_id.get()
    if span is None:
        return None
    fold = folds.get(span)
    run = fold.run if fold is not None else registry.get(span)
    is_kind = run is not None and isinstance(run.state, RowState) and run.state.role.type == kind
    return run if is_kind else None


def _with_subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)

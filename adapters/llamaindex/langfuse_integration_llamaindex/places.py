"""The place of a span: below an open row, or below plumbing that is folded into a row.

LlamaIndex announces about four spans for each thing that a person would name. A span that makes no row is kept as a
fold, without an observation: spans inside of it find the row that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Protocol

from langfuse_integration.internals.bounded import shrink
from langfuse_integration.recording import ambient
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.tracing import registry

from .private import RUN_STAYS_ACTIVE, active_span_id

OPEN_LIMIT = 100_000
ENDED_LIMIT = 5_000


class Thinking(Protocol):
    """An agent's step in which it decides, as model calls and runs see it."""

    def decides(self, observation: Observation) -> None:
        """Mark a model call as a think of the agent."""
        ...

    def hold(self, observation: Observation) -> None:
        """Keep the row of a model call that has answered until the step ends."""
        ...

    def release(self) -> None:
        """End the kept row."""
        ...


class SpanPlace:
    """Where a span starts; one that makes no row is kept as its place while it is open.

    The defaults are those of the class: a place is made for each span, and most differ in run and key only.

    Attributes:
        run: the open row above, or None at the root of a trace.
        key: the key of that row, open or ended.
        folded: whether the span directly above makes no row.
        think: the step of an agent that the span is a part of, directly.
        in_model: whether it is a part of a model call that has its row already.
    """

    run: Run | None = None
    key: Hashable | None = None
    folded = False
    think: Thinking | None = None
    in_model = False

    def lift(self) -> None:
        """Move up to the row above the current one."""
        above = self.run.parent if self.run is not None else None
        self.run = above
        self.key = above.key if above is not None else None


class Fold(SpanPlace):
    """A span without a row whose end matters."""

    def exit(self, result: Any) -> None:
        """Note that the span ended."""

    def drop(self, error: BaseException) -> None:
        """Note that the span failed."""


class Folds:
    """The open spans without a row, and the rows of the last that ended: they may have left tasks behind."""

    def __init__(self, open_limit: int = OPEN_LIMIT, ended_limit: int = ENDED_LIMIT) -> None:
        self._open: dict[str, SpanPlace] = {}
        self._open_limit = open_limit
        self._ended: dict[str, Hashable | None] = {}
        self._ended_limit = ended_limit
        self.get: Callable[[str], SpanPlace | None] = self._open.get
        """Return the open fold of a span id, or None."""

    def __len__(self) -> int:
        return len(self._open)

    def open(self, id_: str, fold: SpanPlace) -> None:
        """Keep a fold by its span id until `close`."""
        self._open[id_] = fold
        if len(self._open) > self._open_limit:
            shrink(self._open, self._open_limit)

    def close(self, id_: str) -> SpanPlace | None:
        """Remove and return the open fold of a span id, or None."""
        fold = self._open.pop(id_, None)
        if fold is not None:
            ended = self._ended
            ended[id_] = fold.key
            if len(ended) > self._ended_limit:  # a tenth goes at once, so that few ends have to do it
                shrink(ended, self._ended_limit - self._ended_limit // 10)
        return fold

    def row_key(self, id_: str) -> Hashable:
        """Return the key of the row that an ended fold was a part of; any other id is itself such a key."""
        return self._ended.get(id_, id_)

    def clear(self) -> None:
        """Forget everything: for tests and forked children."""
        self._open.clear()
        self._ended.clear()


folds = Folds()


class Around(Protocol):
    """A call without a span that has a row, or a fold, in this context: see unspanned.py."""

    @property
    def parent_id(self) -> str | None: ...
    @property
    def id(self) -> str: ...


block: ContextVar[Around | None] = ContextVar("langfuse_integration_llamaindex_block", default=None)


def place_below(parent_id: str | None) -> SpanPlace:
    """Return the place of a span that starts in the span of this id, or in a block around the line."""
    place = SpanPlace()
    around = block.get()
    if around is not None and around.parent_id == parent_id:
        parent_id = around.id
    if parent_id is None:
        return place
    fold = folds.get(parent_id)
    if fold is not None:
        place.run, place.key, place.folded = fold.run, fold.key, True
        place.think, place.in_model = fold.think, fold.in_model
        return place
    place.run = run = registry.get(parent_id)
    place.key = parent_id if run is not None else folds.row_key(parent_id)
    return place


def current() -> Parent | None:
    """Return the observation of this context's active span, or None: a source of `ambient`."""
    id_ = active_span_id.get()
    around = block.get()
    if around is not None and around.parent_id == id_:
        id_ = around.id
    if id_ is None or (RUN_STAYS_ACTIVE and id_[:-37].endswith(".run")):
        return None
    fold = folds.get(id_)
    if fold is not None:
        return fold.run.anchor if fold.run is not None else _footprint(fold.key)
    run = registry.get(id_)
    return run.anchor if run is not None else _footprint(folds.row_key(id_))


outside: ContextVar[Parent | None] = ContextVar("langfuse_integration_llamaindex_outside", default=None)
"""The current span of a reader, while a piece of a streamed answer is made in the reader's context."""


def span_inside(parent: Run) -> Parent | None:
    """Return the span that the code of *parent* has opened around this line, or None.

    It is in the trace of *parent* and younger; a span of the reader of a streamed answer is no part of the answer.
    """
    span, anchor = ambient.current_span(), parent.anchor
    if span is None or span.trace != anchor.trace or span.started_ns < anchor.started_ns or not span.exported:
        return None
    return span if span is not outside.get() else None


def _footprint(key: Hashable | None) -> Parent | None:
    return registry.footprint(key) if key is not None else None

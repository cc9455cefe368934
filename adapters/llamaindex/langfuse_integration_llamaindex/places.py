"""The place of a span: below an open row, or below plumbing that is folded into a row.

LlamaIndex announces about four spans for each thing that a person would name. A span that makes no row is kept as a
fold, without an observation: spans inside of it find the row that they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Protocol

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.recording import ambient
from langfuse_integration.recording.anchor import Parent
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.tracing import registry

from .private import RUN_STAYS_ACTIVE, active_span_id

OPEN_LIMIT = 50_000
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


class Fold:
    """A span without a row.

    Attributes:
        run: the row that it is a part of, or None at the root of a trace.
        key: the key of that row; it stays when the row has ended.
        think: the step of an agent that it is a part of, directly.
        in_model: whether it is a part of a model call that has its row already.
    """

    __slots__ = ("in_model", "key", "run", "think")

    def __init__(
        self, run: Run | None, key: Hashable | None, think: Thinking | None = None, *, in_model: bool = False
    ) -> None:
        self.run = run
        self.key = key
        self.think = think
        self.in_model = in_model

    def exit(self, result: Any) -> None:
        """Note that the span ended."""

    def drop(self, error: BaseException) -> None:
        """Note that the span failed."""


class Folds:
    """The open folds, and the rows of the last folds that ended: their background tasks may start something later."""

    def __init__(self, open_limit: int = OPEN_LIMIT, ended_limit: int = ENDED_LIMIT) -> None:
        self._open: BoundedDict[str, Fold] = BoundedDict(open_limit)
        self._ended: BoundedDict[str, Hashable | None] = BoundedDict(ended_limit)
        self.get: Callable[[str], Fold | None] = self._open.get
        """Return the open fold of a span id, or None."""
        self.open: Callable[[str, Fold], None] = self._open.__setitem__
        """Keep a fold by its span id until `close`."""

    def __len__(self) -> int:
        return len(self._open)

    def close(self, id_: str) -> Fold | None:
        """Remove and return the open fold of a span id, or None."""
        fold = self._open.pop(id_, None)
        if fold is not None:
            self._ended[id_] = fold.key
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


class SpanPlace:
    """Where a span starts.

    Attributes:
        run: the open row above, or None.
        key: the key of that row, open or ended; None at a root.
        fold: the fold directly above, or None when the row is directly above.
    """

    __slots__ = ("fold", "key", "run")

    def __init__(self, parent_id: str | None) -> None:
        self.run: Run | None = None
        self.key: Hashable | None = None
        self.fold: Fold | None = None
        around = block.get()
        if around is not None and around.parent_id == parent_id:
            parent_id = around.id
        if parent_id is None:
            return
        fold = folds.get(parent_id)
        if fold is not None:
            self.fold, self.run, self.key = fold, fold.run, fold.key
            return
        run = registry.get(parent_id)
        self.run = run
        self.key = parent_id if run is not None else folds.row_key(parent_id)

    def lift(self) -> None:
        """Move up to the row above the current one."""
        above = self.run.parent if self.run is not None else None
        self.run, self.fold = above, None
        self.key = above.key if above is not None else None


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

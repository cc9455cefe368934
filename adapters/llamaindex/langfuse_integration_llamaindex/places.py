"""Where a span stands: the rows that are open, and the plumbing that is folded into them.

LlamaIndex announces four spans for each thing that a person would name. What makes no row costs no observation: it is
remembered as a fold, so that what starts inside of it finds the row that it belongs to.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

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
        """End the row that is held."""
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
        """Take notice of its end."""

    def drop(self, error: BaseException) -> None:
        """Take notice of its failure."""


class Folds:
    """The folds that are open, and where the last that ended belonged to: tasks that they left behind start late."""

    def __init__(self, open_limit: int = OPEN_LIMIT, ended_limit: int = ENDED_LIMIT) -> None:
        self._open_limit = open_limit
        self._ended_limit = ended_limit
        self._open: dict[str, Fold] = {}
        self._ended: dict[str, Hashable | None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, id_: str) -> Fold | None:
        """Return the open fold of a span id, or None."""
        return self._open.get(id_)

    def open(self, id_: str, fold: Fold) -> None:
        """Remember *fold* until `close`; beyond the limit the oldest is forgotten."""
        self._open[id_] = fold
        if len(self._open) > self._open_limit:
            _forget_oldest(self._open)

    def close(self, id_: str) -> Fold | None:
        """Give out the open fold of a span id for its end, or None."""
        fold = self._open.pop(id_, None)
        if fold is not None:
            self._ended[id_] = fold.key
            if len(self._ended) > self._ended_limit:
                _forget_oldest(self._ended)
        return fold

    def belonged(self, id_: str) -> Hashable:
        """Return the key of the row that an ended fold was a part of; any other id is itself such a key."""
        return self._ended.get(id_, id_)

    def clear(self) -> None:
        """Forget everything: for tests and forked children."""
        self._open.clear()
        self._ended.clear()


def _forget_oldest(entries: dict[str, Any]) -> None:
    try:
        entries.pop(next(iter(entries)), None)
    except (RuntimeError, StopIteration):  # another thread was there
        pass


folds = Folds()


class Place:
    """Where something starts.

    Attributes:
        run: the open row above, or None.
        key: what that row is known by, open or ended; None at a root.
        fold: the fold directly above, or None when the row is directly above.
    """

    __slots__ = ("fold", "key", "run")

    def __init__(self, parent_id: str | None) -> None:
        self.run: Run | None = None
        self.key: Hashable | None = None
        self.fold: Fold | None = None
        if parent_id is None:
            return
        fold = folds.get(parent_id)
        if fold is not None:
            self.fold, self.run, self.key = fold, fold.run, fold.key
            return
        run = registry.get(parent_id)
        self.run = run
        self.key = parent_id if run is not None else folds.belonged(parent_id)

    def lift(self) -> None:
        """Move up to where the row above stands itself."""
        above = self.run.parent if self.run is not None else None
        self.run, self.fold = above, None
        self.key = above.key if above is not None else None


def current() -> Parent | None:
    """Return what the active span of this context is recorded as, or None: what `ambient` asks."""
    id_ = active_span_id.get()
    if id_ is None or (RUN_STAYS_ACTIVE and id_[:-37].endswith(".run")):
        return None
    fold = folds.get(id_)
    if fold is not None:
        return fold.run.anchor if fold.run is not None else _remembered(fold.key)
    run = registry.get(id_)
    return run.anchor if run is not None else _remembered(folds.belonged(id_))


def _remembered(key: Hashable | None) -> Parent | None:
    return registry.footprint(key) if key is not None else None

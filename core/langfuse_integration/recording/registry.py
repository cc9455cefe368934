"""Open runs of every framework in this process, by run id.

The same run may be announced several times (a handler listed twice, two handlers): the first start counts, the first
end ends it. What a framework never ends is bounded: the oldest run gives way, and is recorded with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from ..internals import forks
from ..sessions.session import Session
from . import clocks
from .anchor import Anchor, Parent
from .clocks import TOLERANCE_NS
from .observation import Observation, ObservationType

_now = clocks.now
_clock = clocks.steady
OPEN_LIMIT = 100_000
"""An agent of LangGraph has three open runs, and six where another one acts inside of its tool.

Three of them take 7 KB, and LangGraph itself 49 KB (with 1,000 agents that think).
"""
ENDED_LIMIT = 2_000
_Footprint = tuple[int, int, tuple[Session | None, Session | None], int, bool]
"""The arguments of an Anchor: one is made only where it is asked for."""


class RunStart:
    """What an adapter tells of a run that starts; adapters derive their states from it, which stay as `Run.state`.

    Attributes:
        key: the framework's id of the run.
        parent_key: the key of the run above, or None; asked where that run is not open (any more).
        name, type: of the observation.
        session: what a handler was bound to; it takes precedence over everything, what it leaves open stays.
        named: what a root run's own configuration names; the same, below the handler.
        suggested: the session for a root run whose parent has none: of the place that asked for the run.
        above: the parent to take instead: a span that is open inside of the parent run, or a remembered trace.
    """

    key: Hashable
    name: str
    parent_key: Hashable | None = None
    type: ObservationType = "span"
    session: Session | None = None
    named: Session | None = None
    suggested: Session | None = None
    above: Parent | None = None

    def called_by(self, parent_key: Hashable) -> bool:
        """Return whether the code of that run is what starts this one in this context; asked on its thread only."""
        return False

    def observe(self, run: Run) -> Observation:
        """Make the observation of a run that was plumbing; for adapters that fold runs."""
        raise NotImplementedError


class Run:
    """One run of a framework; the registry makes it, without an `__init__`, which would be a call for each.

    Attributes:
        key: the framework's id of it.
        observation: what is recorded of it.
        anchor: what its children stand under: its own observation, or when it is folded, the anchor above it.
        folded: plumbing, which makes no row of its own unless it fails.
        parent: the run above, or None.
        state: whatever the adapter keeps for it.
        children: the open runs below it, by their keys.
        begun: a run has been opened below it, which may have ended.
    """

    __slots__ = ("anchor", "begun", "children", "folded", "key", "observation", "parent", "state")

    key: Hashable
    observation: Observation
    anchor: Parent
    folded: bool
    parent: Run | None
    state: Any
    children: dict[Hashable, Run]
    begun: bool

    @property
    def root(self) -> Run:
        """The run at the top."""
        run = self
        while run.parent is not None:
            run = run.parent
        return run

    def lineage(self) -> Iterator[Run]:
        """Yield this run, then those above it."""
        run: Run | None = self
        while run is not None:
            yield run
            run = run.parent

    def open_below(self) -> Iterator[Run]:
        """Yield the open runs below this one, the deepest first."""
        for child in list(self.children.values()):
            yield from child.open_below()
            yield child


class FoldedRun(Run):
    """Plumbing whose observation is made only if it is asked for: mostly it never is.

    Attributes:
        started_ns, clock_ns: when it started, in ns since 1970 and by `time.perf_counter_ns`: the observation is set
            back to that.
    """

    __slots__ = ("clock_ns", "started_ns")

    started_ns: int
    clock_ns: int

    def __getattr__(self, name: str) -> Any:
        if name != "observation":
            raise AttributeError(name)
        self.observation = made = self.state.observe(self)
        made.set_back(self.started_ns, self.clock_ns)
        return made


class RunRegistry:
    """The open runs, at most *open_limit*, and the footprints of the last that ended, at most *ended_limit*."""

    def __init__(self, open_limit: int = OPEN_LIMIT, ended_limit: int = ENDED_LIMIT) -> None:
        self._open_limit = open_limit
        self._ended_limit = ended_limit
        self._runs: dict[Hashable, Run] = {}
        self._ended: dict[Hashable, _Footprint] = {}
        self._ended_before: dict[Hashable, _Footprint] = {}
        self._evicting = forks.Lock()
        self.get: Callable[[Hashable], Run | None] = self._runs.get
        """Return the open run of a key, or None."""

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._runs

    def footprint(self, key: Hashable) -> Anchor | None:
        """Return where a run stood that ended a short while ago, or None."""
        footprint = self._ended.get(key) or self._ended_before.get(key)
        return Anchor(*footprint) if footprint is not None else None

    def open(
        self, start: RunStart, parent: Run | None, anchor: Parent, observation: Observation | None = None
    ) -> Run | None:
        """Take in a run, or return None when its key is open already, and then nothing has changed.

        Args:
            start: stays as `Run.state`.
            anchor: what its children stand under.
            observation: None for plumbing: *start* makes one if it is asked for.
        """
        run: Run
        if observation is not None:
            run = Run()
            run.observation = observation
            run.folded = False
        else:
            run = folded = FoldedRun()
            run.folded = True
            started_ns = _now()
            clock_ns = _clock()
            if not -TOLERANCE_NS < started_ns - clock_ns - clocks.distance_ns < TOLERANCE_NS:
                started_ns, clock_ns = clocks.moment()
            folded.started_ns = started_ns
            folded.clock_ns = clock_ns
        run.key = key = start.key
        run.anchor = anchor
        run.parent = parent
        run.state = start
        run.begun = False
        run.children = {}  # not when the first comes: two threads may open the first ones at once
        runs = self._runs
        if runs.setdefault(key, run) is not run:
            return None
        if parent is not None:
            parent.children[key] = run
            parent.begun = True
        if len(runs) > self._open_limit:
            self._evict()
        return run

    def close(self, key: Hashable) -> Run | None:
        """Give out the open run of *key* for its end; None when it is not open (any more)."""
        run = self._runs.pop(key, None)
        if run is None:
            return None
        if run.parent is not None:
            run.parent.children.pop(key, None)
        ended = self._ended
        if len(ended) >= self._ended_limit >> 1:  # two halves: the older one goes at once, at no cost for each
            with self._evicting:
                if self._ended is ended:
                    self._ended_before = ended
                    self._ended = {}
                ended = self._ended
        at = run.anchor
        ended[key] = at.trace, at.span, (at.session, at.origin), at.started_ns, at.exported
        return run

    def open_runs(self) -> list[Run]:
        """Return the open runs, the oldest first."""
        return list(self._runs.values())

    def clear(self) -> None:
        """Forget everything without recording it: for tests and forked children."""
        self._runs.clear()
        self._ended.clear()
        self._ended_before.clear()

    def _evict(self) -> None:
        with self._evicting:
            while len(self._runs) > self._open_limit:
                run = self.close(_oldest(self._runs))
                if run is not None and not run.folded:
                    run.observation.level = "WARNING"
                    run.observation.status_message = "still open when too many runs were open"
                    run.observation.finish()


def _oldest(entries: dict[Hashable, Any]) -> Hashable:
    while True:
        try:
            return next(iter(entries), None)
        except RuntimeError:  # another thread added one between the two steps
            continue


registry = RunRegistry()
"""The one of this process."""

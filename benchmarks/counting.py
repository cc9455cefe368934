"""How many functions tracing calls in one run: a figure that no load of the machine changes.

    python -m benchmarks calls                 count, and compare with calls.json
    python -m benchmarks calls --update        store the counts as the new baseline

A count includes every call of our Python functions on the application's threads and every call that these make, minus
the calls of the untraced run: our wrappers call the application's own functions too. Calls below an event
loop are left out, because how often it polls is chance. The worker does not run: its work takes none of the
application's time, and when it runs is chance.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .contender import Contender, Framework, Terms
from .contenders.ours import Ours
from .workloads import PLACES, workload

BASELINE = Path(__file__).parent / "calls.json"
TOLERANCE = 1.05
WARM_UP = 2
RUNS = 5
LOOPS = ("/asyncio/", "/anyio/", "/sniffio/")


class Counts:
    """The calls of all threads that are started within, and of this one, by code.

    Attributes:
        all: every call.
        below: calls of our functions, and of whatever these call.
    """

    def __init__(self) -> None:
        self._threads: list[tuple[Counter[CodeType], Counter[CodeType]]] = []

    def __enter__(self) -> Counts:
        gc.collect()
        gc.disable()  # what it finalises, and when, is chance
        threading.setprofile(self._first)
        sys.setprofile(self._thread())
        return self

    def __exit__(self, *raised: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        gc.enable()

    @property
    def all(self) -> Counter[CodeType]:
        return sum((everything for everything, _ in self._threads), Counter())

    @property
    def below(self) -> Counter[CodeType]:
        return sum((ours for _, ours in self._threads), Counter())

    def _first(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take the first event in a new thread."""
        note = self._thread()
        sys.setprofile(note)
        note(frame, event, argument)

    def _thread(self) -> Any:
        everything: Counter[CodeType] = Counter()
        ours: Counter[CodeType] = Counter()
        self._threads.append((everything, ours))
        counted: list[bool] = []  # of the frames from the first of ours on: whether they count

        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call":
                code = frame.f_code
                everything[code] += 1
                if "langfuse_integration" in code.co_filename:
                    counted.append(True)
                elif counted:
                    counted.append(counted[-1] and not any(loop in code.co_filename for loop in LOOPS))
                if counted and counted[-1]:
                    ours[code] += 1
            elif event == "return" and counted:
                counted.pop()

        return note


class Idle:
    """A worker that delivers nothing."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder
        self._stopped = threading.Event()

    def run(self) -> None:
        """Wait for `stop`."""
        self._stopped.wait()

    def flush(self, *how: Any) -> None:
        """Clear the recorder's queues."""
        self._recorder.queue.clear()
        self._recorder.openings.clear()

    def outcome(self) -> tuple[int, int, int]:
        """Return zero for delivered, pending and lost."""
        return 0, 0, 0

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()


class Counted(Ours):
    """langfuse-integration with an idle worker."""

    def begin(self, terms: Terms) -> None:
        """Switch tracing on and replace the worker with an idle one."""
        super().begin(terms)
        self.recorder.divert(Idle)  # type: ignore[arg-type]
        self.recorder.replayable = False  # as the real worker sets it for rows that are delivered


def count(framework: Framework) -> dict[str, dict[str, float]]:
    """Return the calls that tracing adds to one run: by workload of *framework*, then by function.

    The process must not have traced anything before.
    """
    names = [name for name, place in PLACES.items() if place[0] == framework]
    untraced = {name: _counted(name, Contender()).all for name in names}
    ours = Counted()
    ours.begin(Terms(framework, "discard", ""))
    return {name: _added(_counted(name, ours), untraced[name], name) for name in names}


def _counted(name: str, contender: Contender) -> Counts:
    application = workload(name)(contender)
    application.measure(WARM_UP)
    contender.deliver()
    application.renew_threads()
    application.watch = counts = Counts()
    application.measure(_turns(name))
    contender.deliver()
    return counts


def _added(traced: Counts, untraced: Counter[CodeType], name: str) -> dict[str, float]:
    everything = traced.all
    runs = _turns(name) * workload(name).runs
    added: Counter[str] = Counter()
    for code, calls in traced.below.items():
        added[_shown(code)] += min(calls, max(0, everything[code] - untraced[code]))
    return {function: calls / runs for function, calls in added.most_common() if calls}


def _shown(code: CodeType) -> str:
    place = Path(code.co_filename)
    return f"{place.parent.name}/{place.stem}.{code.co_qualname}"


def _turns(name: str) -> int:
    return max(1, RUNS // workload(name).runs)


def total(functions: dict[str, float]) -> float:
    """Return the sum of the calls of all functions."""
    return round(sum(functions.values()), 1)


def baseline() -> dict[str, float]:
    """Return the stored counts, by workload."""
    counts: dict[str, float] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    return counts


def keep(counts: dict[str, float]) -> None:
    """Make *counts* the new baseline."""
    BASELINE.write_text(json.dumps(counts, indent=2) + "\n")


def grown(counts: dict[str, float], before: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the workloads that call more functions than they may, each with (before, now)."""
    return {
        name: (before.get(name, 0.0), now) for name, now in counts.items() if now > before.get(name, 0.0) * TOLERANCE
    }


if __name__ == "__main__":
    print(json.dumps(count(sys.argv[1])))  # type: ignore[arg-type]

"""How the cost of a step grows with the history before it: one agent run of 10, of 100 and of 1,000 steps.

python -m benchmarks.growth CONTENDER STEPS RUNS        what one step takes, measured in this process
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import threading
import time
from statistics import median
from typing import Any

from . import results, tables
from .contender import Terms
from .contenders import OURS, PLACES, contender
from .environments import Unavailable
from .processes import Stopped, alone

STEPS = (10, 100, 1_000)
RUNS = {10: 60, 100: 8, 1_000: 2}
ROUNDS = {10: 5, 100: 5, 1_000: 3}
ALL_STEPS = ("floor", "deferred", OURS)
CONTENDERS = (*ALL_STEPS, "langfuse", "openinference", "traceloop")
"""Those after ALL_STEPS take minutes for each run of 1,000 steps, and so stop at 100."""


def report(options: argparse.Namespace) -> None:
    """Measure and print a table: the CPU that tracing takes of one step (a model and a tool call), in microseconds."""
    print(results.machine(), flush=True)
    columns = [*map(str, STEPS), *(f"{steps}/{STEPS[0]}" for steps in STEPS[1:])]
    heads = [f"{clock}, {column}" for clock in ("thread us", "process us") for column in columns]
    rows = []
    for name in [each for each in CONTENDERS if each in options.contenders]:
        added: dict[int, dict[str, float]] = {}
        try:
            for steps in STEPS if name in ALL_STEPS else STEPS[:-1]:
                added[steps] = measured(name, steps)
        except (Stopped, Unavailable) as error:
            rows.append([name, *["-"] * (len(heads) - 1), str(error)])
            continue
        results.keep("growth", name, added)
        rows.append([name, *_cells(added, "thread_us"), *_cells(added, "process_us")])
    print(tables.table(["of a step, by", *heads], rows))


def _cells(added: dict[int, dict[str, float]], clock: str) -> list[str]:
    taken = [added[steps][clock] if steps in added else None for steps in STEPS]
    first = added[STEPS[0]][clock]
    ratios = [None if us is None else us / first for us in taken[1:]]
    return [*map(tables.number, taken), *(tables.number(ratio, 2) for ratio in ratios)]


def measured(name: str, steps: int) -> dict[str, float]:
    """Return what tracing takes of one step; the median process's."""
    readings = [alone("growth", name, steps, RUNS[steps], contender=name) for _ in range(ROUNDS[steps])]
    return {clock: median(each[clock] for each in readings) for clock in readings[0]}


def run(name: str, steps: int, runs: int) -> dict[str, float]:
    """Return what tracing takes of one step in this process, in microseconds; the median run's."""
    tracer = contender(name)
    tracer.begin(Terms("langchain", "discard", ""))
    from .workloads.chains import agent

    built, config = agent(steps), {**tracer.config(), "recursion_limit": 2 * steps + 10}
    callbacks = Callbacks()
    taken: list[tuple[int, int]] = []
    for _ in range(1 + runs):
        gc.collect()
        before = callbacks.taken_ns, _background_ns()
        built.invoke({"messages": [{"role": "user", "content": "Which parts are in stock?"}]}, config)
        called_ns = callbacks.taken_ns - before[0]
        from_ns = time.thread_time_ns()
        tracer.deliver()
        taken.append((called_ns, called_ns + time.thread_time_ns() - from_ns + _background_ns() - before[1]))
    thread, process = zip(*taken[1:], strict=True)
    return {"thread_us": median(thread) / steps / 1e3, "process_us": median(process) / steps / 1e3}


class Callbacks:
    """The CPU that handlers of LangChain's callbacks take, on whichever thread they are called.

    Read directly: the difference of a traced and an untraced run of seconds says more about the machine.
    """

    def __init__(self) -> None:
        from langchain_core.callbacks import manager

        self.taken_ns = 0
        handle_event = manager.handle_event
        clock_ns = time.thread_time_ns

        def timed(*arguments: Any, **options: Any) -> None:
            from_ns = clock_ns()
            try:
                handle_event(*arguments, **options)
            finally:
                self.taken_ns += clock_ns() - from_ns

        manager.handle_event = timed


def _background_ns() -> int:
    """Return the CPU that threads have taken which neither are the application's nor LangGraph's."""
    threads = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith("ThreadPoolExecutor")
    ]
    return sum(time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident)) for thread in threads if thread.ident)


if __name__ == "__main__":
    assert sys.argv[1] in PLACES
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))

"""How the cost of a step grows with the history before it: one agent run of 10, of 100 and of 1,000 steps.

python -m benchmarks.growth CONTENDER STEPS RUNS        what one step takes, measured in this process
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from statistics import median
from typing import Any

from . import results, tables
from .contender import Terms
from .contenders import NONE, OURS, PLACES, contender
from .environments import Unavailable
from .processes import Stopped, alone
from .workloads.workload import Reading

STEPS = (10, 100, 1_000)
RUNS = {10: 20, 100: 4, 1_000: 1}
ROUNDS = {10: 7, 100: 5, 1_000: 3}
CONTENDERS = ("floor", "deferred", OURS, "langfuse", "openinference", "traceloop")


def report(asked: argparse.Namespace) -> None:
    """Measure and print a table; the added CPU of one step (a model call and a tool call) in microseconds."""
    print(results.machine(), flush=True)
    rows = []
    for name in [found for found in CONTENDERS if found in asked.contenders]:
        added = {}
        try:
            for steps in STEPS:
                added[steps] = measured(name, steps)
        except (Stopped, Unavailable) as error:
            rows.append([name, *["-"] * 7, str(error)])
            continue
        results.keep("growth", name, added)
        cells = [name]
        for clock in ("thread_us", "process_us"):
            cells += [tables.number(added[steps][clock]) for steps in STEPS]
            cells += [tables.number(added[STEPS[-1]][clock] / added[STEPS[0]][clock], 2)]
        rows.append(cells)
    heads = [f"{clock} {steps}" for clock in ("thread us,", "process us,") for steps in (*STEPS, "1,000/10")]
    print(tables.table(["added to a step of", *heads], rows))


def measured(name: str, steps: int) -> dict[str, float]:
    """Return what tracing adds to one step: medians of paired differences to the untraced run."""
    pairs = [
        (alone("growth", NONE, steps, RUNS[steps]), alone("growth", name, steps, RUNS[steps], contender=name))
        for _ in range(ROUNDS[steps])
    ]
    return {clock: median(traced[clock] - plain[clock] for plain, traced in pairs) for clock in pairs[0][0]}


def run(name: str, steps: int, runs: int) -> dict[str, float]:
    """Return what one step takes in this process, in microseconds; the median run's."""
    tracer = contender(name)
    tracer.begin(Terms("langchain", "discard", ""))
    from .workloads.chains import agent

    built = agent(steps)
    config: Any = {**tracer.config(), "recursion_limit": 2 * steps + 10}
    request = {"messages": [{"role": "user", "content": "Which parts are in stock?"}]}
    agent(3).invoke(request, config)
    tracer.deliver()
    taken: list[tuple[float, float]] = []
    for _ in range(runs + (runs > 1)):
        gc.collect()
        before = Reading.now()
        built.invoke(request, config)
        after = Reading.now().since(before)
        tracer.deliver()
        taken.append((after.thread_ns, Reading.now().since(before).process_ns))
    taken = taken[runs > 1 :]
    return {
        "thread_us": median(thread for thread, _ in taken) / steps / 1e3,
        "process_us": median(process for _, process in taken) / steps / 1e3,
    }


if __name__ == "__main__":
    assert sys.argv[1] in PLACES
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
